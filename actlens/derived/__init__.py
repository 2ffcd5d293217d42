"""Results that were computed from a recording and lie with it, in `derived/` (docs/format.md, 9).

    kind = Kind("stats", 1, write=packed, read=unpacked)
    remembered([layer], kind, parameters={"ddof": 1}, packages=["numpy"], compute=lambda: stats_of(layer))

The second call with the same values, parameters and versions reads what the first one wrote.
"""

from actlens.derived.listing import Derived as Derived
from actlens.derived.listing import listed as listed
from actlens.derived.listing import result_names as result_names
from actlens.derived.remembering import Kind as Kind
from actlens.derived.remembering import remembered as remembered
