"""The adapter for Keras 3 on any of its backends."""

from actlens.errors import BadAdapter

raise BadAdapter.not_built("actlens_tf", "Keras")
