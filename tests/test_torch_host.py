"""fetch(): from tensors to numpy."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import actlens
import actlens_torch
from actlens.errors import UncapturableValue
from actlens_torch._values import OWNED


def fetch(tensor, rows=None):
    index = None if rows is None else np.asarray(rows, dtype=np.int64)
    return actlens_torch.fetch({"a": tensor}, rows=index)()["a"]


FLOAT8 = [name for name in dir(torch) if name.startswith("float8_") and hasattr(ml_dtypes, name)]


@pytest.mark.parametrize("name", ["bfloat16", *FLOAT8])
def test_dtypes_that_numpy_lacks(name):
    codes = torch.arange(200, dtype=torch.uint8).reshape(20, 5, 2)
    if name == "bfloat16":
        tensor, wide = (codes.float() / 7).to(torch.bfloat16), None
    else:
        tensor, wide = codes.view(getattr(torch, name)), codes
    expected = tensor.float().numpy()
    for rows in (None, [3, 3, 0], []):
        got = fetch(tensor, rows)
        assert got.dtype == np.dtype(getattr(ml_dtypes, name))
        want = expected if rows is None else expected[np.asarray(rows, dtype=int)]
        np.testing.assert_array_equal(got.astype(np.float32), want)
    if wide is not None:
        assert fetch(tensor).tobytes() == wide.numpy().tobytes()


@pytest.mark.parametrize(
    "name",
    [
        *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ],
)
def test_plain_dtypes(name):
    values = (np.arange(24).reshape(6, 4) % 2 if name == "bool" else np.arange(24).reshape(6, 4)).astype(name)
    tensor = torch.from_numpy(values.copy())
    for rows in (None, [5, 0, 0]):
        got = fetch(tensor, rows)
        assert got.dtype == values.dtype
        np.testing.assert_array_equal(got, values if rows is None else values[rows])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.transpose(0, 2),
        lambda t: t[::2, :, 1:],
        lambda t: t.flip(0),
        lambda t: t[:1].expand(4, 3, 2),
        lambda t: t[0, 0, 0],
        lambda t: t[:0],
        lambda t: t.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        lambda t: t.requires_grad_() * 2,
        lambda t: nn.Parameter(t),
        lambda t: torch.complex(t, t).conj(),
        lambda t: torch.complex(t, t).conj().imag,
        lambda t: torch.complex(t, t).real,
    ],
)
def test_forms_of_tensors(change):
    tensor = change(torch.arange(24.0).reshape(4, 3, 2))
    got = fetch(tensor)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, tensor.detach().resolve_conj().resolve_neg().numpy())
    if tensor.dim() and len(tensor):
        np.testing.assert_array_equal(fetch(tensor, [0, 0]), got[[0, 0]])


def test_nothing_is_shared():
    for tensor in (torch.zeros(4, 3), torch.zeros(3, 4).T, torch.zeros(4, 3, dtype=torch.bfloat16)):
        for rows in (None, [0, 1, 2, 3]):
            got = fetch(tensor, rows)
            tensor.fill_(5)
            assert (got.astype(float) == 0).all()
            got[:] = 3
            assert (tensor == 5).all()
            tensor.fill_(0)


def test_rows_that_are_not_there():
    with pytest.raises(IndexError):
        fetch(torch.zeros(3, 2), [3])


@pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*ComplexHalf", "ignore:.*[Ss]parse")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: torch.zeros(2, 2).to_sparse(), "'a' gave a sparse tensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8), "a quantized tensor"),
        (lambda: torch.zeros(2, device="meta"), "a meta tensor"),
        (lambda: torch.zeros(2, dtype=torch.complex32), "torch.complex32, which numpy lacks.*Cast it"),
    ],
)
def test_what_numpy_cannot_hold(make, text):
    with pytest.raises(UncapturableValue, match=text):
        fetch(make())


def test_distributed_tensors_are_gathered():
    class Sharded(torch.Tensor):
        def full_tensor(self):
            return self.as_subclass(torch.Tensor) + 1

    assert (fetch(torch.zeros(2, 3).as_subclass(Sharded)) == 1).all()


def test_a_tensor_of_our_own_is_not_copied_twice():
    model = nn.Sequential(nn.Linear(4, 4), nn.Flatten(0))
    forward = actlens.capture(model, {"0": None, "1": "b -> b"})
    with actlens_torch.inference(model, forward) as run:
        _, acts = run(np.ones((2, 4), np.float32))
    address = acts["0"].data_ptr()
    assert fetch(acts["0"]).ctypes.data == address
    assert fetch(acts["0"]).ctypes.data != address  # given away once, it is nobody's own any more
    with torch.no_grad():
        _, acts = forward(torch.ones(2, 4))
    assert not hasattr(acts["0"], OWNED)
    assert fetch(acts["0"]).ctypes.data != acts["0"].data_ptr()


def test_rows_of_our_own_tensor_are_copied():
    model = nn.Sequential(nn.Linear(4, 4))
    with actlens_torch.inference(model, actlens.capture(model, "0")) as run:
        _, acts = run(torch.ones(3, 4))
    got = fetch(acts["0"], [2, 0])
    assert got.base is None or got.ctypes.data != acts["0"].data_ptr()
    assert fetch(acts["0"]).ctypes.data == acts["0"].data_ptr()


def test_devices_are_asked_for_pinned_memory(monkeypatch):
    """No device here: a stand-in shows that the copy is asynchronous and that the result waits for it."""
    waited = []

    class Event:
        def record(self):
            waited.append("record")

        def synchronize(self):
            waited.append("synchronize")

    class OnDevice(torch.Tensor):
        is_cuda = True

    class Nothing:
        def __init__(self, device):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", Nothing)
    tensor = torch.arange(4.0).as_subclass(OnDevice)
    wait = actlens_torch.fetch({"a": tensor, "b": tensor})
    assert waited == ["record"]
    np.testing.assert_array_equal(wait()["a"], [0, 1, 2, 3])
    assert waited == ["record", "synchronize"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_device():
    tensor = torch.randn(1000, 64, device="cuda").to(torch.bfloat16)
    for rows in (None, [3, 1, 1]):
        wait = actlens_torch.fetch({"a": tensor}, rows=None if rows is None else np.asarray(rows))
        expected = (tensor if rows is None else tensor[rows]).float().cpu().numpy()
        tensor = tensor.clone().fill_(0) if rows is None else tensor
        np.testing.assert_array_equal(wait()["a"].astype(np.float32), expected)
