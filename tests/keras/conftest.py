"""These run in a process of their own for each backend of Keras: tests/test_keras_backends.py starts it."""

import os

if "KERAS_BACKEND" not in os.environ:
    collect_ignore_glob = ["*.py"]


def pytest_configure(config):
    for line in (
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",  # Keras's own
        "ignore::DeprecationWarning:tensorflow",
        "ignore:.*np\\.object.*:FutureWarning",
    ):
        config.addinivalue_line("filterwarnings", line)
