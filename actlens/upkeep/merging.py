"""`merge`: several recordings of the same layers and columns into one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import RecordingNotFound, UpkeepError
from actlens.format.local import LocalPlace
from actlens.format.reader import Shard
from actlens.format.schema import ACT, LayerSpec, Origin, Schema
from actlens.recording import Recording, opened, place_of
from actlens.upkeep.merged_ids import refuse_same_samples
from actlens.upkeep.target import appearing, refusal
from actlens.upkeep.verifying import Examination, examine
from actlens.writing.buffer import ShardBuffer
from actlens.writing.options import at_least, local_folder
from actlens.writing.origin import make_origin
from actlens.writing.ragged import Valid
from actlens.writing.writer import Writer

_MIXED = "mixed"
_MASK_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One recording to be merged: verified, and with the rows that count."""

    found: Examination
    schema: Schema
    origin: Origin

    @property
    def path(self) -> object:
        """Where it is."""
        return self.found.place.at()

    def shards(self) -> Iterator[tuple[Shard, npt.NDArray[np.int64]]]:
        """Open shard after shard; give it with the numbers of its rows that count."""
        for number, check in enumerate(self.found.checks):
            shard = Shard(self.found.place.blob(check.path))
            keep = np.ones(shard.meta.rows, bool)
            for first, last in self.found.dropped.get(number, ()):
                keep[first:last] = False
            yield shard, np.flatnonzero(keep)


def merge(sources: Iterable[str | Path], target: str | Path, *, shard_bytes: int = 64 << 20) -> Recording:
    """Join recordings of the same layers and columns into a new one; the sources are not changed.

    Rows come in the order of the sources; of samples that a source has twice, the row that counts. All bytes
    are verified. The new recording appears whole, or not at all. A few shards are held in memory, of the
    largest of the sources' and of `shard_bytes`, and the ids.

    The new recording has an id of its own, and says of its origin what is the same in all sources: model,
    framework, weights, patterns and dtype are left out where they differ, `sample` is "mixed" (and `seed` 0)
    where one of the two differs, and ids count as numbered where they were in one source. What a source has
    lost is not carried over.

    Args:
        sources: the paths, at least one; with a single one, its rows are written anew into shards of
            `shard_bytes`.
        target: a path that does not exist, or an empty folder; folders above it are made.
        shard_bytes: how much is committed at a time.

    Raises:
        InputError: no list of paths, one of them twice, a target inside a source.
        RecordingNotFound: there is no recording at a path, or nothing is committed there.
        RecordingExists: the target is taken.
        UpkeepError: layers or columns differ; the same (step, id) in two sources; the same id in two sources
            of which one counted its ids from 0, in whatever step, since it is not the same sample there.
        CorruptRecording: a source is damaged. Nothing is left at the target.
        ReadFailed: a source cannot be read, and may be whole. Nothing is left at the target.
        WriteFailed: the disk refused. Nothing is left at the target.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import upkeep
    >>> folder = tempfile.mkdtemp()
    >>> for part in range(2):
    ...     with actlens.Recorder(f"{folder}/part{part}") as rec:
    ...         rec.write({"fc": np.full((2, 1), part)}, id=[2 * part, 2 * part + 1])
    2
    2
    >>> run = upkeep.merge([f"{folder}/part0", f"{folder}/part1"], f"{folder}/all")
    >>> run.ids, run["fc"][:, 0]
    (array([0, 1, 2, 3]), array([0, 0, 1, 1]))
    """
    paths = _paths(sources)
    shard_bytes = at_least("shard_bytes", shard_bytes, 1)
    folder = local_folder(target, "the target of a merge")
    with appearing(folder, paths) as aside:
        parts = [_source(path) for path in paths]
        schema = _one_schema(parts)
        refuse_same_samples(
            [(part.path, part.origin.ids == "numbered", part.shards) for part in parts], schema
        )
        _write(aside, parts, schema, shard_bytes)
    return opened(LocalPlace(folder))


def _paths(sources: Any) -> list[Path]:
    if isinstance(sources, (str, bytes, Path)) or not isinstance(sources, Iterable):
        raise UpkeepError.no_sources(sources)
    paths = [local_folder(path, "a source of a merge") for path in sources]
    if not paths:
        raise UpkeepError.no_sources(paths)
    seen: set[str] = set()
    for path in paths:
        if os.path.realpath(path) in seen:
            raise UpkeepError.source_twice(path)
        seen.add(os.path.realpath(path))
    return paths


def _source(path: Path) -> Source:
    found = examine(place_of(path), compare=False)
    if not found.verification.ok:
        raise refusal(found.place.at(), found.verification.problems, "merged")
    if not found.checks:
        raise RecordingNotFound.no_shards(found.place.at())
    meta = Shard(found.place.blob(found.checks[0].path)).meta
    return Source(found, meta.schema, meta.origin)


def _one_schema(parts: Sequence[Source]) -> Schema:
    """Give the schema of all, in the order of the first; refuse what differs, all of it at once."""
    first = parts[0]
    types = {layer.key: {layer.type} for layer in first.schema.layers}
    for part in parts[1:]:
        fields = list(_differences(first.schema, part.schema))
        if fields:
            raise UpkeepError.fields_differ(first.path, part.path, fields)
        for layer in part.schema.layers:
            types[layer.key].add(layer.type)
    layers = tuple(
        layer if len(types[layer.key]) == 1 else msgspec.structs.replace(layer, type="")
        for layer in first.schema.layers
    )
    return msgspec.structs.replace(first.schema, layers=layers)


def _differences(was: Schema, now: Schema) -> Iterator[str]:
    layers = {layer.key: layer for layer in now.layers}
    for layer in was.layers:
        other = layers.pop(layer.key, None)
        if other is None:
            yield f"layer {layer.key!r} is in the first only"
        elif msgspec.structs.replace(other, type=layer.type) != layer:
            yield from (
                f"{what} of layer {layer.key!r}: {a} and {b}"
                for what, a, b in zip(
                    ("dtype", "shape", "axes", "mask"), _told(layer), _told(other), strict=True
                )
                if a != b
            )
    yield from (f"layer {key!r} is in the second only" for key in layers)
    columns = {column.name: column.dtype for column in now.columns}
    for column in was.columns:
        dtype = columns.pop(column.name, None)
        if dtype is None:
            yield f"column {column.name!r} is in the first only"
        elif dtype != column.dtype:
            yield f"dtype of column {column.name!r}: {column.dtype} and {dtype}"
    yield from (f"column {name!r} is in the second only" for name in columns)


def _told(layer: LayerSpec) -> tuple[str, str, str, str]:
    mask = "none" if not layer.ragged else "its own" if layer.ragged.startswith(ACT) else "shared"
    return layer.dtype, str(layer.shape), f"({', '.join(layer.axes)})", mask


def _joined_origin(parts: Sequence[Source]) -> Origin:
    """Say what is the same in all sources."""
    said = [msgspec.to_builtins(part.origin) for part in parts]

    def same(field: str, otherwise: Any = None) -> Any:
        return said[0][field] if all(one[field] == said[0][field] for one in said) else otherwise

    one_choice = same("sample") is not None and same("seed") is not None
    ids = {part.origin.ids for part in parts}
    return make_origin(
        {
            "sample": said[0]["sample"] if one_choice else _MIXED,
            "seed": said[0]["seed"] if one_choice else 0,
            "dtype": same("dtype"),
        },
        {
            **{name: same(name) for name in ("framework", "framework_version", "model", "weights", "layers")},
            "ids": "numbered" if "numbered" in ids else "given",
        },
    )


def _write(aside: Path, parts: Sequence[Source], schema: Schema, shard_bytes: int) -> None:
    writer = Writer(LocalPlace(aside), _joined_origin(parts), rank=0, resume=False)
    try:
        buffer = ShardBuffer(schema, shard_bytes)
        for part in parts:
            for shard, rows in part.shards():
                for arrays, columns, valid in _pieces(shard, rows):
                    for tensors, count in buffer.add(arrays, columns, valid):
                        writer.commit(schema, tensors, count)
        tensors, count = buffer.take()
        writer.commit(schema, tensors, count, last=True)
        writer.seal()
    except BaseException:
        writer.abandon()
        raise


Arrays = dict[str, npt.NDArray[Any]]


def _pieces(shard: Shard, rows: npt.NDArray[np.int64]) -> Iterator[tuple[Arrays, Arrays, Valid]]:
    """Read a shard, each tensor whole so that its digest is checked; give the rows that count, in pieces.

    There is one piece, unless the masks of ragged rows would be large.
    """
    schema = shard.meta.schema
    columns = {column.name: shard.column(column.name)[rows] for column in schema.columns}
    layers = {layer.key: shard.read(ACT + layer.key) for layer in schema.layers}
    ragged = {layer.key: layer.ragged for layer in schema.layers if layer.ragged}
    if len(rows) == shard.meta.rows and not ragged:
        yield layers, columns, Valid()
        return
    offsets = {index: shard.offsets(index) for index in schema.indices}
    places = {index: shard.places(index) for index in schema.indices}
    widest = max((int(places[index].max(initial=-1)) + 1 for index in places), default=0)
    few = max(1, _MASK_BYTES // max(1, widest))
    for at in range(0, len(rows), few):
        some = rows[at : at + few]
        picked = {index: _positions(offsets[index], some) for index in offsets}
        masks = {
            index: _mask(np.diff(offsets[index])[some], places[index][picked[index]]) for index in offsets
        }
        arrays = {
            key: values[picked[ragged[key]]] if key in ragged else values[some]
            for key, values in layers.items()
        }
        piece = {name: values[at : at + few] for name, values in columns.items()}
        yield arrays, piece, Valid(ragged, masks)


def _positions(offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the numbers of all positions of some rows."""
    lengths = np.diff(offsets)[rows]
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.asarray(np.repeat(offsets[rows], lengths) + np.arange(int(lengths.sum())) - before)


def _mask(lengths: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Give (rows, positions), true where a position was kept."""
    mask = np.zeros((len(lengths), int(places.max(initial=-1)) + 1), bool)
    mask[np.repeat(np.arange(len(lengths)), lengths), places] = True
    return mask
