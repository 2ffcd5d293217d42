"""Which tensors a shard must have: its schema says which, of what dtype and shape."""

from __future__ import annotations

from collections.abc import Mapping

from actlens.errors import CorruptRecording
from actlens.format.digests import block_count
from actlens.format.header import Tensor
from actlens.format.schema import ACT, BLOCKS, COL, IDX, POS, STRING, ShardMeta, check_schema

Wanted = dict[str, tuple[str, tuple[int, ...]]]


def check_tensors(meta: ShardMeta, tensors: Mapping[str, Tensor], path: object) -> None:
    """Hold the tensors to the schema that the shard carries, and the schema to the format.

    Raises:
        CorruptRecording: naming the first that is missing, or of another dtype or shape.
    """
    try:
        check_schema(meta.schema)
    except ValueError as error:
        raise CorruptRecording.shard(path, f"its metadata breaks the format: {error}") from error
    for name, (code, shape) in _wanted(meta, tensors).items():
        tensor = tensors.get(name)
        if tensor is None or (tensor.code, tensor.shape) != (code, shape):
            raise CorruptRecording.shard(path, f"{name!r} is not as its schema says")
    for column in meta.schema.columns:
        tensor = tensors.get(COL + column.name)
        if column.dtype == STRING and (tensor is None or tensor.code != "U8" or len(tensor.shape) != 1):
            raise CorruptRecording.shard(path, f"{COL + column.name!r} is not as its schema says")
    sums = tensors.get(BLOCKS)
    others = max((tensor.end for tensor in tensors.values() if tensor is not sums), default=0)
    covered = sums is not None and (sums.code, sums.shape) == ("U64", (block_count(sums.begin),))
    if sums is None or not covered or sums.begin < others:
        raise CorruptRecording.shard(path, "its block sums do not cover its data")


def _wanted(meta: ShardMeta, tensors: Mapping[str, Tensor]) -> Wanted:
    """Give name → dtype and shape of the tensors that the schema asks for; texts have no shape to ask for."""
    rows, schema = meta.rows, meta.schema
    wanted: Wanted = {
        ACT + layer.key: (layer.dtype, (position_count(meta, tensors, layer.ragged), *layer.shape))
        for layer in schema.layers
    }
    for index in schema.indices:
        wanted[IDX + index] = ("I64", (rows + 1,))
        if POS + index in tensors:
            wanted[POS + index] = ("I64", (position_count(meta, tensors, index),))
    for column in schema.columns:
        text = column.dtype == STRING
        name = IDX + COL + column.name if text else COL + column.name
        wanted[name] = ("I64", (rows + 1,)) if text else (column.dtype, (rows,))
    return wanted


def position_count(meta: ShardMeta, tensors: Mapping[str, Tensor], index: str) -> int:
    """Give how many positions the rows have along an index; the rows themselves where it is ''."""
    if not index:
        return meta.rows
    layer = next(layer for layer in meta.schema.layers if layer.ragged == index)
    tensor = tensors.get(ACT + layer.key)
    return tensor.shape[0] if tensor is not None and tensor.shape else 0
