"""The demo: a small network learns handwritten digits while actlens looks inside.

    demo = actlens.demo.run_demo("demo")

It is the same in every framework: same images, same split, same layers. The framework's part (model
and training) is in its adapter's package and keeps `actlens.demo.protocol.Framework`.
"""

from actlens.demo.driver import Demo as Demo
from actlens.demo.driver import run_demo as run_demo

__all__ = ["Demo", "run_demo"]
