"""What can go wrong, as a tree. Catch `ActlensError` for all of it, a leaf to act on one thing.

    ActlensError
    ├── SelectionError (ValueError)      the `layers=` of a capture cannot be used
    │   ├── NoLayerMatches               a pattern names nothing in this model
    │   └── BadTransform                 an einops pattern or a function failed on an activation
    ├── CaptureError                     the model ran, but what was asked for was not there
    │   ├── LayerNeverFired
    │   ├── EmptyCapture
    │   └── UncapturableValue            an output that is not a plain array of this forward
    ├── UnsupportedModel (TypeError)     no adapter, or a form of the model that hides its layers
    ├── MissingDependency (ImportError)  an extra that is not installed, with the pip line
    ├── BadAdapter (TypeError)           an adapter that breaks the Backend protocol
    ├── InputError (ValueError)          what was handed in cannot be used
    │   ├── RowsError                    arrays that are not one batch of rows
    │   │   └── MaskError                masks and lengths that do not fit the rows
    │   ├── IdError
    │   ├── ColumnError
    │   ├── BatchError                   what an iterable of batches yielded
    │   ├── BundleError                  a result that no file can hold
    │   ├── CompareError                 layers that cannot be compared
    │   │   └── DiffError                two recordings that cannot be checked against each other
    │   │       └── NotClose (AssertionError)  their layers differ beyond the tolerance
    │   ├── StatisticsError              layers, columns or states that statistics cannot be made of
    │   └── ArgumentError
    │       └── AddressError             an address of an object store or a server
    ├── BudgetExceeded                   the recording would not fit
    ├── RecordingError
    │   ├── RecordingExists
    │   ├── RecordingNotFound
    │   ├── WriteFailed                  the disk said no; committed shards are safe
    │   ├── ReadFailed                   the file system refused a read
    │   ├── CorruptRecording             bytes are not what was written
    │   ├── CorruptBundle                the same of a file of results
    │   ├── UnsupportedFormat            written by a newer actlens
    │   └── UpkeepError                  recordings that cannot be merged
    ├── WorkerError (RuntimeError)       a worker of an executor that cannot do its part
    └── NotFound (KeyError)              no such layer, column, step or id in a recording

Every message is built here, one constructor per situation, so that its wording is read once:
what was seen, what is allowed, what to do.
"""

from actlens.errors._alignment import AlignmentError as AlignmentError
from actlens.errors._analysis import ReduceError as ReduceError
from actlens.errors._base import ActlensError as ActlensError
from actlens.errors._base import InputError as InputError
from actlens.errors._base import MissingDependency as MissingDependency
from actlens.errors._bundles import BundleError as BundleError
from actlens.errors._bundles import CorruptBundle as CorruptBundle
from actlens.errors._bundles import DerivedWarning as DerivedWarning
from actlens.errors._bundles import seen_in_bundle as seen_in_bundle
from actlens.errors._capture import BadAdapter as BadAdapter
from actlens.errors._capture import BadTransform as BadTransform
from actlens.errors._capture import CaptureError as CaptureError
from actlens.errors._capture import EmptyCapture as EmptyCapture
from actlens.errors._capture import LayerNeverFired as LayerNeverFired
from actlens.errors._capture import NoLayerMatches as NoLayerMatches
from actlens.errors._capture import SelectionError as SelectionError
from actlens.errors._capture import UncapturableValue as UncapturableValue
from actlens.errors._capture import UnsupportedModel as UnsupportedModel
from actlens.errors._compare import CompareError as CompareError
from actlens.errors._diff import DiffError as DiffError
from actlens.errors._diff import NotClose as NotClose
from actlens.errors._drawing import PlotError as PlotError
from actlens.errors._masks import MaskError as MaskError
from actlens.errors._neighbors import NeighborError as NeighborError
from actlens.errors._not_found import NotFound as NotFound
from actlens.errors._recording import BudgetExceeded as BudgetExceeded
from actlens.errors._recording import CorruptRecording as CorruptRecording
from actlens.errors._recording import ReadFailed as ReadFailed
from actlens.errors._recording import RecordingError as RecordingError
from actlens.errors._recording import RecordingExists as RecordingExists
from actlens.errors._recording import RecordingNotFound as RecordingNotFound
from actlens.errors._recording import WriteFailed as WriteFailed
from actlens.errors._remote import AddressError as AddressError
from actlens.errors._rows import ArgumentError as ArgumentError
from actlens.errors._rows import BatchError as BatchError
from actlens.errors._rows import ColumnError as ColumnError
from actlens.errors._rows import IdError as IdError
from actlens.errors._rows import RowsError as RowsError
from actlens.errors._statistics import StatisticsError as StatisticsError
from actlens.errors._unsupported import UnsupportedFormat as UnsupportedFormat
from actlens.errors._upkeep import UpkeepError as UpkeepError
from actlens.errors._upkeep import what_was_seen as what_was_seen
from actlens.errors._workers import WorkerError as WorkerError
