"""The upkeep of recordings: verify, repair, copy, merge, and clearing away what dead writers left.

from actlens import upkeep
upkeep.verify("runs/first")   # its text is a table: what is damaged, which bytes, what is worth knowing
"""

from actlens.upkeep.collecting import Collected as Collected
from actlens.upkeep.collecting import Removed as Removed
from actlens.upkeep.collecting import gc as gc
from actlens.upkeep.copying import copy as copy
from actlens.upkeep.losing import LostShard as LostShard
from actlens.upkeep.merging import merge as merge
from actlens.upkeep.repairing import Repair as Repair
from actlens.upkeep.repairing import SetAside as SetAside
from actlens.upkeep.repairing import repair as repair
from actlens.upkeep.report import Orphan as Orphan
from actlens.upkeep.report import Problem as Problem
from actlens.upkeep.report import Verification as Verification
from actlens.upkeep.verifying import verify as verify
