"""The version, in one place: the build reads it, the manifest records it."""

__version__ = "0.1.0"
