"""open() and Recording: a recording on disk, read lazily, as a mapping from layers to arrays."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import AddressError, ArgumentError, NotFound, ReadFailed, RecordingNotFound
from actlens.format.local import LocalPlace
from actlens.format.memory import room_for
from actlens.format.place import Place
from actlens.format.reader import VERIFY, Verify
from actlens.format.schema import ID, LayerSpec
from actlens.layer_array import LayerArray
from actlens.ragged_array import RaggedArray
from actlens.row_source import Columns, RowSource
from actlens.shard_set import Rows, ShardSet
from actlens.table import printable
from actlens.writing.options import folder_path, is_address

if TYPE_CHECKING:
    from actlens.derived import Derived
    from actlens.upkeep.report import Verification


def open(path: str | Path, *, mmap: bool = False, verify: Verify = "stream") -> Recording:
    """Open a recording, sealed or still being written.

    Args:
        path: the folder; or an address, as s3://bucket/run, gs://…, az://…, https://… (docs/guide.md).
        mmap: give slices of one shard as read-only views of the file instead of copies. A file that is
            cut short while it is mapped ends the process; the default does not map.
        verify: "stream" checks whole tensors, and the blocks of 1 MiB that lie in a longer read; "all" checks
            every block that is touched; "none" checks only headers.

    Raises:
        RecordingNotFound: nothing there, or nothing committed yet.
        CorruptRecording: a shard is damaged or missing.
        UnsupportedFormat: written by a later version.

    >>> import actlens, tempfile, numpy as np
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc": np.eye(2)}, label=["a", "b"])
    2
    >>> run = actlens.open(rec.path)
    >>> run["fc"][:], run.columns["label"]
    (array([[1., 0.],
           [0., 1.]]), array(['a', 'b'], dtype='<U1'))
    """
    if verify not in VERIFY:
        raise ArgumentError.choice("verify", verify, VERIFY)
    if mmap and is_address(path):
        raise AddressError.no_mmap()
    return opened(place_of(path), mmap=mmap, verify=verify)


def place_of(path: str | Path) -> Place:
    """Give the place of a path.

    Raises:
        RecordingNotFound: there is no folder.
    """
    if is_address(path):
        remote: Place = importlib.import_module("actlens.remote").place_to_read(path)
        return remote
    folder = folder_path(path)
    place = LocalPlace(folder)
    try:
        if not place.exists():
            # A folder that was made since is not there yet for us, and no file.
            file = folder.exists() and not folder.is_dir()
            raise RecordingNotFound.of(folder, "it is a file" if file else "it does not exist")
    except OSError as error:  # a name too long, a folder above it that may not be entered
        raise ReadFailed.of(folder, error) from error
    return place


def opened(place: Place, *, mmap: bool = False, verify: Verify = "stream") -> Recording:
    """Open what lies at a place."""
    shards = ShardSet.of(place, mmap=mmap, verify=verify)
    return Recording(shards, shards.kept())


class Recording(Mapping[str, LayerArray | RaggedArray]):
    """A mapping from layers to lazy arrays; with columns, and information on where it came from.

    All layers and columns have the same rows. `sel` gives a recording with fewer of them.
    """

    def __init__(self, shards: ShardSet, rows: Rows | None) -> None:
        self._shards = shards
        self._source = RowSource(shards)
        self._rows = rows

    def __getitem__(self, key: str) -> Any:
        """Give a layer: a LayerArray, or a RaggedArray where it was recorded with `mask=` or `lengths=`."""
        spec = self.layers.get(key)
        if spec is None:
            raise NotFound.layer(key, self)
        if spec.ragged:
            return RaggedArray(self._shards, spec, self._rows)
        return LayerArray(self._source, spec, self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, key: object) -> bool:
        return key in self.layers

    @property
    def path(self) -> Any:
        """Where the recording is: a path, or the address of a remote one."""
        return self._shards.place.at()

    @cached_property
    def layers(self) -> dict[str, LayerSpec]:
        """Layer → what is stored of it: dtype, shape of one row, axes, type; in the order of the forward."""
        return {layer.key: layer for layer in self._shards.schema.layers}

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self._source.rows if self._rows is None else len(self._rows)

    @cached_property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """Column → (samples,) values; read when first asked for."""
        return Columns(self._source, self._rows)

    @property
    def ids(self) -> npt.NDArray[Any]:
        """(samples,) ids: integers or text."""
        return self.columns[ID]

    @property
    def info(self) -> dict[str, Any]:
        """Where the numbers came from and how they are stored: model, framework, sampling, sizes."""
        return self._shards.info() | {"rows": self.rows}

    def sel(self, /, **values: Any) -> Recording:
        """Give the rows whose columns have these values.

        Args:
            **values: column → a value, or a list or array of values.

        Raises:
            NotFound: no such column, or no row with a value.

        >>> import actlens, tempfile, numpy as np
        >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
        ...     rec.write({"fc": np.zeros((3, 2))}, label=[7, 8, 7])
        3
        >>> actlens.open(rec.path).sel(label=7).rows
        2
        """
        keep = room_for(self.path, (self.rows,), np.dtype(bool))
        keep[:] = True
        for name, wanted in values.items():
            keep &= _having(name, self.columns[name], wanted)
        if not keep.any():
            raise NotFound.together(values)
        rows = np.flatnonzero(keep)
        return Recording(self._shards, rows if self._rows is None else self._rows[rows])

    def take(self, rows: Any) -> Recording:
        """Give rows by position, in the order given: a slice, or an array of integers or booleans."""
        picked = np.arange(self.rows)[rows]
        if picked.ndim != 1:
            raise ArgumentError.rows(rows)
        return Recording(self._shards, picked if self._rows is None else self._rows[picked])

    def verify(self) -> Verification:
        """Read every byte of the recording, also of rows that are not selected; say what is damaged.

        The same as `actlens.upkeep.verify(run.path)`.

        >>> import actlens, tempfile, numpy as np
        >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
        ...     rec.write({"fc": np.eye(2)})
        2
        >>> actlens.open(rec.path).verify().ok
        True
        """
        from actlens.upkeep.verifying import examine

        return examine(self._shards.place).verification

    def derived(self) -> tuple[Derived, ...]:
        """List the results that lie with the recording, such as embeddings; none where it is at an address.

        >>> import actlens, tempfile, numpy as np
        >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
        ...     rec.write({"fc": np.eye(4)})
        4
        >>> run = actlens.open(rec.path)
        >>> z = actlens.reduce.pca(run["fc"])  # computed; the next call reads it
        >>> [(one.kind, one.layers, one.parameters["method"], one.current) for one in run.derived()]
        [('embedding', ('fc',), 'pca', True)]
        """
        from actlens.derived import listed

        place = self._shards.place
        return listed(place.folder, self._shards.fingerprint()) if isinstance(place, LocalPlace) else ()

    def __repr__(self) -> str:
        sealed = "" if self.info["sealed"] else ", not sealed"
        layers = f"{len(self)} layers ({', '.join(map(printable, self))})"
        return f"<Recording {printable(self.path)}: {self.rows} rows × {layers}{sealed}>"


def _having(name: str, column: npt.NDArray[Any], wanted: Any) -> npt.NDArray[np.bool_]:
    """Say which rows have one of the wanted values; each of them must be there."""
    several = isinstance(wanted, (list, tuple, set, range)) or (
        isinstance(wanted, np.ndarray) and wanted.ndim
    )
    keep = np.zeros(len(column), bool)
    for value in wanted if several else [wanted]:
        here = _equal(column, value)
        if not here.any():
            raise NotFound.value(name, value, np.unique(column).tolist())
        keep |= here
    return keep


def _equal(column: npt.NDArray[Any], value: Any) -> npt.NDArray[np.bool_]:
    """Compare exactly: a whole number is not rounded to meet a float, and text is no number."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    kind = column.dtype.kind
    if kind in "UT":
        fits = isinstance(value, str)
    elif kind in "iu":
        fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        value = int(value) if fits else value
        fits = fits and np.iinfo(column.dtype).min <= value <= np.iinfo(column.dtype).max
    else:
        fits = isinstance(value, (bool, int, float, complex))
    if not fits:
        return np.zeros(len(column), bool)
    # A float is what it would have been stored as: 0.1 finds float32's 0.1.
    equal: npt.NDArray[np.bool_] = column == np.asarray(value, dtype=column.dtype)
    return equal


def align(a: Recording, b: Recording) -> tuple[Recording, Recording]:
    """Give the rows that two recordings share, in the same order, joined by id.

    Raises:
        NotFound: an id stands twice in one of them (select a step first), or none is shared.
    """
    for run in (a, b):
        values, counts = np.unique(run.ids, return_counts=True)
        if len(values) and counts.max() > 1:
            raise NotFound.ambiguous(run.path, values[counts.argmax()].item())
    shared, in_a, in_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
    if not len(shared):
        raise NotFound.no_shared_ids(a.path, b.path)
    order = np.argsort(in_a)
    return a.take(in_a[order]), b.take(in_b[order])
