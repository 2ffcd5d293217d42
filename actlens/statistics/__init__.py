"""Statistics of every unit of every layer, from one read of a recording.

What is summed up over rows is a state: a task makes one of a part, `merge` puts two together, and the result
reads them. No room here keeps rows.
"""

from actlens.statistics.result import Stats as Stats

__all__ = ["Stats"]
