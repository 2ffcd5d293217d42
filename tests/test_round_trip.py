"""What is written comes back bit for bit: every element type in every layout, from every framework.

Read back twice: by actlens with every digest checked, and by the safetensors library.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from round_trip_arrays import (
    CODES,
    LAYOUTS,
    SHAPE,
    TYPES,
    assert_stored,
    big_endian,
    by_the_library,
    came_from,
    picked,
    positions,
    record,
    special_bits,
    values,
)

import actlens
from actlens.format.local import LocalPlace
from actlens.format.reader import Shard
from actlens.format.shard import write_shard

SOME = [0, 2, 3]  # ids of a sample: the rows are picked before the copy, by another path


@pytest.mark.parametrize("code", ["F16", "BF16", "F32", "F64", "C64"])
def test_the_values_are_hard(code):
    array = values(code)
    parts = array.view("f4") if code == "C64" else array
    bits = parts.view(f"u{parts.itemsize}")
    with np.errstate(invalid="ignore"):  # signalling NaNs are among them
        nans = np.isnan(parts)
    assert len(np.unique(bits[nans])) >= 12
    assert set(np.signbit(parts[nans]).tolist()) == {True, False}
    assert set(special_bits(code)) <= set(bits.ravel().tolist())  # -0.0, infinities, subnormals


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("code", CODES)
def test_numpy(tmp_path, code, layout):
    array = LAYOUTS[layout](values(code))
    places = LAYOUTS[layout](positions())
    record(tmp_path / "r", {"a": array})
    assert_stored(tmp_path / "r", {"a": (code, array.shape, picked(values(code), places))})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numpy_some_rows_of_all_types(tmp_path, layout):
    places = LAYOUTS[layout](positions())[: SOME[-1] + 1]
    places = places[[i for i in SOME if i < len(places)]]
    record(tmp_path / "r", {code: LAYOUTS[layout](values(code)) for code in CODES}, sample=SOME)
    assert_stored(tmp_path / "r", came_from(places))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_of_a_shard_may_lie_in_any_layout(tmp_path, layout):
    """A Recorder hands over copies in order; write_shard() itself does not rely on it."""
    record(tmp_path / "r", {"a": np.zeros(1)})
    meta = Shard(next(tmp_path.glob("r/shards/*/*.safetensors"))).meta
    arrays = {code: LAYOUTS[layout](values(code)) for code in CODES}
    chunks = {code: [array[:2], array[2:]] for code, array in arrays.items()}
    (tmp_path / "w/shards" / meta.writer).mkdir(parents=True)
    place = LocalPlace(tmp_path / "w", "rename")
    shard = place.at(write_shard(place, meta, chunks).path)
    for code, array in arrays.items():
        expected = picked(values(code), LAYOUTS[layout](positions()))
        assert by_the_library(shard, code, code, array.shape) == expected


@st.composite
def views(draw):
    """A shape, and a way to view it: slices with steps, items, new axes; then the axes in another order."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    index = draw(hnp.basic_indices(shape, min_dims=1, max_dims=4, allow_newaxis=True))
    order = draw(st.permutations(range(np.empty(shape)[index].ndim)))
    return shape, lambda array: array[index].transpose(order)


@given(
    code=st.sampled_from(CODES),
    view=views(),
    seed=st.integers(0, 99),
    swapped=st.booleans(),
    at=st.integers(0, 5),
    shard_bytes=st.integers(1, 3000),
)
def test_any_type_any_shape_any_strides(tmp_path_factory, code, view, seed, swapped, at, shard_bytes):
    shape, laid = view
    count = int(np.prod(shape))
    base = np.concatenate([values(code, seed + i).reshape(-1) for i in range(3)])[:count].reshape(shape)
    places = laid(np.arange(count).reshape(shape))
    assume(len(places))
    array = laid(big_endian(base) if swapped else base)
    path = tmp_path_factory.mktemp("run") / "r"
    with actlens.Recorder(path, durability="rename", shard_bytes=shard_bytes) as rec:
        rec.write({"a": array[:at]})
        rec.write({"a": array[at:]})
    assert_stored(path, {"a": (code, places.shape, picked(base, places))})


def test_columns_too(tmp_path):
    columns = {code: values(code)[:, 1, 2] for code in CODES}
    with actlens.Recorder(tmp_path / "r", durability="rename") as rec:
        rec.write({"a": np.zeros(SHAPE[0])}, **columns)
    run = actlens.open(tmp_path / "r", verify="all")
    for code, column in columns.items():
        assert run.columns[code].dtype == TYPES[code]
        assert run.columns[code].tobytes() == column.tobytes()


def test_what_changes_after_the_write_is_not_recorded(tmp_path):
    arrays = {code: values(code).copy() for code in CODES}
    with actlens.Recorder(tmp_path / "r", durability="rename") as rec:
        rec.write(arrays)
        for array in arrays.values():
            array.reshape(-1).view(np.uint8)[:] = 0
    assert_stored(tmp_path / "r", {code: (code, SHAPE, values(code).tobytes()) for code in CODES})


def test_narrowing_keeps_what_is_not_finite_and_warns_of_nothing(tmp_path):
    array = values("BF16")  # its NaNs are signalling ones, too: numpy raises a flag when it looks at them
    with np.errstate(invalid="ignore"):
        array = np.where(np.isfinite(array), 0, array).astype(array.dtype)
        expected = array.astype(np.float16)
    record(tmp_path / "r", {"a": array}, dtype="float16")
    assert_stored(tmp_path / "r", {"a": ("F16", SHAPE, expected.tobytes())})


# --- torch ---

TORCH_LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, 2),
    "permuted": lambda t: t.permute(1, 2, 0),
    "strided": lambda t: t[:, ::2],
    "offset": lambda t: t[1:, 3:, 1:3],
    "expanded rows": lambda t: t[:1].expand(9, -1, -1),
    "expanded features": lambda t: t[:, :1].expand(-1, 7, -1),
    "overlapping": lambda t: t.flatten().unfold(0, 5, 1),
    "scalar rows": lambda t: t[:, 3, 1],
    "empty": lambda t: t[:, 0, :0],
    "parameter": lambda t: t.requires_grad_(t.is_floating_point() or t.is_complex()),
}


def _torch(code, seed=0):
    torch = pytest.importorskip("torch")
    raw = torch.from_numpy(values(code, seed).view(np.uint8).copy())
    return raw.view(getattr(torch, TYPES[code].name))


def _torch_places(layout):
    torch = pytest.importorskip("torch")
    return TORCH_LAYOUTS[layout](torch.from_numpy(positions())).numpy()


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("code", CODES)
def test_torch(tmp_path, code, layout):
    places = _torch_places(layout)
    record(tmp_path / "r", {"a": TORCH_LAYOUTS[layout](_torch(code))})
    assert_stored(tmp_path / "r", {"a": (code, places.shape, picked(values(code), places))})


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_torch_some_rows_of_all_types(tmp_path, layout):
    places = _torch_places(layout)[SOME]
    record(tmp_path / "r", {code: TORCH_LAYOUTS[layout](_torch(code)) for code in CODES}, sample=SOME)
    assert_stored(tmp_path / "r", came_from(places))


@pytest.mark.parametrize("some", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_torch_views_that_are_conjugated_or_negated(tmp_path, layout, some):
    """Bits of the tensor that its memory knows nothing of: the sign of each imaginary part is the other."""
    lazy = TORCH_LAYOUTS[layout](_torch("C64")).conj()
    assert lazy.is_conj()
    assert lazy.imag.is_neg()
    flipped = values("C64").copy()
    flipped.view(np.uint32)[..., 1::2] ^= 1 << 31
    imaginary = flipped.view(np.float32)[..., 1::2]
    rows = slice(None) if some is None else some
    record(tmp_path / "r", {"conj": lazy, "neg": lazy.imag}, **({} if some is None else {"sample": some}))
    places = _torch_places(layout)[rows]
    assert_stored(
        tmp_path / "r",
        {
            "conj": ("C64", places.shape, picked(flipped, places)),
            "neg": ("F32", places.shape, picked(imaginary, places)),
        },
    )


# --- jax ---

JAX_LAYOUTS = ["plain", "transposed", "strided", "broadcast", "scalar rows", "empty", "sharded"]


def _jax(layout, array):
    jax = pytest.importorskip("jax")
    if layout == "sharded":
        devices = jax.devices()[: math.gcd(len(array), jax.device_count())]
        mesh = jax.sharding.Mesh(devices, ("rows",))
        return jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows")))
    given_array = jax.numpy.asarray(array)
    return {
        "plain": lambda a: a,
        "transposed": lambda a: a.transpose(2, 0, 1),
        "strided": lambda a: a[:, ::2],
        "broadcast": lambda a: jax.numpy.broadcast_to(a[:1], a.shape),
        "scalar rows": lambda a: a[:, 3, 1],
        "empty": lambda a: a[:, 0, :0],
    }[layout](given_array)


@pytest.mark.parametrize("some", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("layout", JAX_LAYOUTS)
def test_jax(tmp_path, layout, some):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        arrays = {code: _jax(layout, values(code)) for code in CODES}
        assert [array.dtype for array in arrays.values()] == list(TYPES.values())
        places = np.asarray(_jax(layout, positions()))[slice(None) if some is None else some]
        record(tmp_path / "r", arrays, **({} if some is None else {"sample": some}))
    assert_stored(tmp_path / "r", came_from(places))


# --- tensorflow ---

HELD_ONLY = {"F8_E4M3FNUZ", "F8_E5M2FNUZ"}  # TensorFlow makes such tensors, and can do nothing with them


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    """Run round_trip_tensorflow.py once, in a process of its own: its recordings, and what it says."""
    if not (importlib.util.find_spec("keras") and importlib.util.find_spec("tensorflow")):
        pytest.skip("Keras and TensorFlow are not installed")
    folder = tmp_path_factory.mktemp("tensorflow")
    here = Path(__file__).parent
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    child = subprocess.run(
        [sys.executable, here / "round_trip_tensorflow.py", folder, json.dumps(SOME)],
        env=os.environ | quiet | {"PYTHONPATH": str(here.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return folder, json.loads((folder / "said.json").read_text())


TF_LAYOUTS = {
    **dict.fromkeys(("constant", "identity", "variable"), lambda a: a),
    "transposed": lambda a: a.transpose(2, 0, 1),
    "strided": lambda a: a[:, ::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "scalar rows": lambda a: a[:, 3, 1],
    "empty": lambda a: a[:, 0, :0],
}


@pytest.mark.slow
@pytest.mark.parametrize("some", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("layout", TF_LAYOUTS)
def test_tensorflow(tensorflow, layout, some):
    folder, said = tensorflow
    codes = [code for code in CODES if code != "F8_E8M0"]  # which TensorFlow does not have
    if layout not in {"constant", "identity"}:
        codes = [code for code in codes if code not in HELD_ONLY]
    assert said["made"][layout] == codes
    places = TF_LAYOUTS[layout](positions())[slice(None) if some is None else some]
    assert_stored(folder / f"{layout}, {'all' if some is None else 'some'}", came_from(places, codes))


@pytest.mark.slow
def test_tensorflow_types_without_a_place(tensorflow):
    stored = ", ".join(dtype.name for dtype in TYPES.values())
    _, said = tensorflow
    assert said["refused"] == {
        name: f"layer 'a' has dtype {name}, which cannot be stored. Stored are: {stored}."
        for name in ("complex128", "qint8", "string", "int4")
    }
