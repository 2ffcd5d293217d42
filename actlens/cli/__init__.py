"""The command line: `actlens layers | info | reduce | plot | demo`. One command a file, started by `main`."""

from actlens.cli.app import main as main

__all__ = ["main"]
