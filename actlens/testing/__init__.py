"""The contract of an adapter as a test suite: subclass `BackendTests` and say how to build four models.

    class TestMine(BackendTests):
        backend = my_adapter
        def mlp(self, weights): ...

The models are built from numpy weights, and what is expected is computed here with numpy, never by the
adapter. `x` is `(samples, 4)` float32; images are handed over as `(samples, height, width, channel)`.
"""

from __future__ import annotations

from actlens.testing.captures import CaptureTests
from actlens.testing.hosts import HostTests
from actlens.testing.listings import ListingTests
from actlens.testing.models import Array as Array
from actlens.testing.models import Weights as Weights


class BackendTests(CaptureTests, HostTests, ListingTests):
    """Give `backend` and the models (actlens.testing.models); the tests are inherited, not overridden."""
