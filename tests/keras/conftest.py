"""These run in a process of their own for each backend of Keras: tests/test_keras_backends.py starts it."""

import os

import pytest

if "KERAS_BACKEND" not in os.environ:
    collect_ignore_glob = ["*.py"]


def pytest_configure(config):
    for line in ("ignore::DeprecationWarning:tensorflow", "ignore:.*np\\.object.*:FutureWarning"):
        config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items):
    backend = os.environ.get("KERAS_BACKEND")
    for item in items:
        for mark in item.iter_markers("only_on"):
            if backend not in mark.args:
                item.add_marker(pytest.mark.skip(reason=f"Keras runs on {backend}; this is about {mark.args}"))
