"""Arrays for tests/test_round_trip.py: awkward bits in every layout, and what must come back of them.

What must come back is not computed with the array itself: the same layout is laid over the numbers 0, 1, 2 …,
which say of each element where its bytes were taken from.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import xxhash
from safetensors import safe_open

import actlens

SHAPE = (8, 8, 4)  # 256 values: each bit pattern of a byte
_NAMES = {  # as docs/format.md and the safetensors library have them; not taken from actlens
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
TYPES = {code: np.dtype(getattr(ml_dtypes, name, name)) for code, name in _NAMES.items()}
CODES = list(TYPES)
_FIELDS = {"F16": (5, 10), "BF16": (8, 7), "F32": (8, 23), "C64": (8, 23), "F64": (11, 52)}


def special_bits(code):
    """Bit patterns of one float: zeros, infinities, the ends of the subnormals, NaNs quiet and signalling."""
    exponent, mantissa = _FIELDS[code]
    inf = ((1 << exponent) - 1) << mantissa
    quiet = inf | 1 << (mantissa - 1)
    largest_subnormal = (1 << mantissa) - 1
    nans = [quiet, quiet | 1, quiet | 0x2A, inf | 1, inf | (1 << (mantissa - 2)), inf | largest_subnormal]
    positive = [0, 1, largest_subnormal, largest_subnormal + 1, inf - 1, inf, *nans]
    sign = 1 << (exponent + mantissa)
    return [*positive, *(bits | sign for bits in positive)]


def values(code, seed=0):
    """A C-contiguous array of SHAPE: every byte once; of wider types random bits, among them many special."""
    rng = np.random.default_rng(seed)
    dtype, count = TYPES[code], 256
    if code == "BOOL":
        raw = rng.integers(0, 2, count, np.uint8)
    elif dtype.itemsize == 1:
        raw = rng.permutation(count).astype(np.uint8)
    else:
        raw = rng.integers(0, 256, count * dtype.itemsize, np.uint8)
        if code in _FIELDS:
            word = raw.view(f"u{dtype.itemsize // (2 if code == 'C64' else 1)}")
            special = rng.random(word.size) < 0.5
            word[special] = rng.choice(np.array(special_bits(code), word.dtype), special.sum())
    return raw.view(dtype).reshape(SHAPE)


def positions():
    """The number of each element of an array of SHAPE."""
    return np.arange(256).reshape(SHAPE)


def picked(array, places):
    """The bytes of the elements at `places`, one after the other."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize)[places].tobytes()


def came_from(places, codes=CODES):
    """What assert_stored() is to find, of layers that are named by their codes."""
    return {code: (code, places.shape, picked(values(code), places)) for code in codes}


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    raw[1:] = a.reshape(-1).view(np.uint8)
    return raw[1:].view(a.dtype).reshape(a.shape)


def _field(a):
    """A field of packed records: neither aligned nor contiguous."""
    records = np.zeros(a.shape, np.dtype([("before", "u1"), ("it", a.dtype)]))
    records.view(np.uint8).reshape(*a.shape, -1)[..., 1:] = a.view(np.uint8).reshape(*a.shape, a.itemsize)
    return records["it"]


def big_endian(a):
    """The same values, their bytes in the other order: also of the types of ml_dtypes."""
    part = a.dtype.itemsize // (2 if a.dtype.kind == "c" else 1)
    swapped = np.ascontiguousarray(a).view(f"u{part}").byteswap()
    return swapped.view(a.dtype.newbyteorder(">")).reshape(a.shape)


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "c": lambda a: a,
    "fortran": np.asfortranarray,
    "strided": lambda a: a[:, ::2],
    "strided rows": lambda a: a[::3],
    "offset": lambda a: a[1:, 3:, 1:3],
    "reversed": lambda a: a[::-1],
    "reversed inside": lambda a: a[:, ::-1, ::-2],
    "transposed": lambda a: a.transpose(2, 0, 1),
    "one row for all": lambda a: np.broadcast_to(a[:1], a.shape),
    "one feature for all": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "overlapping": lambda a: np.ndarray((252, 5), a.dtype, a, 0, (a.itemsize, a.itemsize)),
    "scalar rows": lambda a: a[:, 3, 1],
    "scalar rows, one value": lambda a: np.broadcast_to(a[:1, 3, 1], (9,)),
    "empty": lambda a: a[:, 0, :0],
    "empty inside": lambda a: a[:, :0],
    "big-endian": big_endian,
    "big-endian, strided": lambda a: big_endian(a)[:, ::-2],
    "unaligned": _unaligned,
    "unaligned, strided": _field,
    "unaligned, big-endian": lambda a: _unaligned(big_endian(a)),
    "read-only": _read_only,
}


def record(path, arrays, **options):
    """Write one batch; the ids are 0, 1, 2 …"""
    with actlens.Recorder(path, durability="rename", **options) as rec:
        rec.write(arrays)


def assert_stored(path, expected):
    """`expected`: layer → (code, shape, bytes); read by actlens, and by the safetensors library."""
    run = actlens.open(path, verify="all")
    assert list(run) == list(expected)
    parts = {key: [] for key in expected}
    for shard in sorted(Path(path).glob("shards/*/*.safetensors")):
        for key, (code, shape, _) in expected.items():
            parts[key].append(by_the_library(shard, f"act:{key}", code, shape))
    for key, (code, shape, raw) in expected.items():
        back = run[key][:]
        assert (back.dtype, back.shape) == (TYPES[code], shape)
        assert back.tobytes() == raw
        assert b"".join(parts[key]) == raw


def by_the_library(shard, name, code, shape):
    framework = "pt" if code.startswith("F8") else "numpy"  # its numpy path has no float8
    with safe_open(shard, framework) as reader:
        described = reader.get_slice(name)
        assert described.get_dtype() == code
        assert tuple(described.get_shape()[1:]) == shape[1:]
        tensor = reader.get_tensor(name)
    if framework == "pt":
        import torch

        assert tensor.dtype == getattr(torch, TYPES[code].name)
        return tensor.contiguous().view(torch.uint8).numpy().tobytes()
    assert tensor.dtype == TYPES[code]
    return tensor.tobytes()


def with_code(shard, code, shape):
    """Give the layer `a` of a shard another code and shape, everywhere, with a right header digest."""
    raw = shard.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    entries["act:a"] |= {"dtype": code, "shape": shape}
    meta = json.loads(entries["__metadata__"]["actlens"])
    meta["schema"]["layers"][0] |= {"dtype": code, "shape": shape[1:]}
    entries["__metadata__"] = {"digest": "0" * 32, "actlens": json.dumps(meta)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    assert len(text) <= length
    head = struct.pack("<Q", length) + text.ljust(length)
    digest = xxhash.xxh3_128(head).hexdigest().encode()
    shard.write_bytes(head.replace(b"0" * 32, digest, 1) + raw[8 + length :])
