"""Element types without a place in the format: refused by name, and the recording goes on."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from round_trip_arrays import TYPES, assert_stored, record, values, with_code
from safetensors import safe_open

import actlens
from actlens.errors import CorruptRecording, RowsError
from actlens.format.reader import Shard

NO_PLACE = {
    **{name: name for name in ("complex128", "object", "datetime64[s]", "timedelta64[ns]")},
    "float128": "longdouble",
    "complex256": "clongdouble",
    "str96": "U3",
    "bytes24": "S3",
    "void24": "V3",
    "void64": [("x", "f4"), ("y", "f4")],
    **{
        name: getattr(ml_dtypes, name)
        for name in (
            *("int4", "uint4", "int2", "uint2", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
            *("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"),
        )
    },
}


def _assert_refused(path, name, given_array):
    """As the first batch, as a later one, and beside a layer that could be stored: nothing of it stays."""
    rows = [values("F32"), values("F32", 1)]
    text = f"layer 'a' has dtype {name}, which cannot be stored. Stored are: "
    with actlens.Recorder(path, durability="rename") as rec:
        for batch in rows:
            for acts in ({"a": given_array}, {"good": batch[: len(given_array)], "a": given_array}):
                with pytest.raises(RowsError) as refused:
                    rec.write(acts)
                assert str(refused.value) == text + ", ".join(d.name for d in TYPES.values()) + "."
            rec.write({"a": batch})
    assert actlens.open(path).ids.tolist() == list(range(16))
    assert_stored(path, {"a": ("F32", (16, 8, 4), b"".join(batch.tobytes() for batch in rows))})


@pytest.mark.parametrize("name", NO_PLACE)
def test_numpy_types_without_a_place(tmp_path, name):
    if np.dtype(NO_PLACE[name]) in TYPES.values():
        pytest.skip("here it is no type of its own")
    _assert_refused(tmp_path / "r", name, np.zeros((2, 3), NO_PLACE[name]))


@pytest.mark.parametrize("name", ["complex128", "int4", "uint2", "float4_e2m1fn_x2", "bits8"])
def test_torch_types_without_a_place(tmp_path, name):
    torch = pytest.importorskip("torch")
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    _assert_refused(tmp_path / "r", name, torch.empty((2, 3), dtype=getattr(torch, name)))


@pytest.mark.parametrize("name", ["complex128", "int4", "uint2", "float4_e2m1fn", "float8_e3m4"])
def test_jax_types_without_a_place(tmp_path, name):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        _assert_refused(tmp_path / "r", name, jax.numpy.zeros((2, 3), name))


@pytest.mark.parametrize(
    ("code", "wide"), [("U8", 6), ("F4", 12), ("F6_E2M3", 8), ("F6_E3M2", 8)], ids=lambda value: str(value)
)
def test_shards_of_types_that_end_inside_a_byte(tmp_path, code, wide):
    """Rows of six bytes as what safetensors calls sub-byte types: good files, but not shards."""
    path = tmp_path / "r"
    record(path, {"a": np.arange(48, dtype=np.uint8).reshape(8, 6)})
    (shard,) = path.glob("shards/*/*.safetensors")
    with_code(shard, code, [8, wide])
    (path / "manifest.json").unlink()  # it names the digest of the header as it was
    with safe_open(shard, "numpy") as reader:
        assert reader.get_slice("act:a").get_dtype() == code
    if code == "U8":  # the forgery itself is faultless
        assert actlens.open(path, verify="all")["a"][:].tobytes() == bytes(range(48))
        return
    for verify in ("stream", "all", "none"):
        with pytest.raises(CorruptRecording, match=f"'act:a' has the unknown dtype '{code}'"):
            Shard(shard, verify=verify)
        with pytest.raises(CorruptRecording, match=f"'act:a' has the unknown dtype '{code}'"):
            actlens.open(path, verify=verify)
