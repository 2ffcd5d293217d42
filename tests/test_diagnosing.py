"""Diagnoses of compare.diff: each mistake is made with PyTorch's own functions, and must be found, alone."""

from __future__ import annotations

import numpy as np
import pytest

import actlens
from actlens.activations import Activations
from actlens.compare.diff import diff

torch = pytest.importorskip("torch")
F = torch.nn.functional

IMAGES = ("sample", "channel", "height", "width")
LAST = ("sample", "height", "width", "channel")


def _t(values):
    return torch.as_tensor(np.asarray(values, "f4"))


def _n(tensor):
    return tensor.detach().numpy()


@pytest.fixture
def record(tmp_path):
    count = iter(range(100))

    def written(acts, axes=None):
        with actlens.Recorder(tmp_path / f"run{next(count)}", durability="rename") as rec:
            rec.write(Activations(acts, axes or {}))
        return actlens.open(rec.path)

    return written


@pytest.fixture
def x(rng):
    """Images, channels last: even, not square, other numbers of channels than places."""
    return rng.normal(0.3, 1, (80, 12, 8, 5)).astype("f4")


def _first(value):
    return _t(np.moveaxis(value, -1, 1))


def _last(tensor):
    return np.moveaxis(_n(tensor), 1, -1)


def _said(a, b, first="y", **more):
    """Compare {x, y} of both sides; give the diagnosis of y, which must be the first that diverges."""
    found = diff(a, b, **more)
    assert found.first == first
    return found.diagnosis


def _of(x, a, b, other_x=None):
    return _said({"x": x, "y": a}, {"x": x if other_x is None else other_x, "y": b})


def _confirmed(text, start):
    assert text is not None
    assert text.startswith(start)
    assert "(confirmed: what is left of b is " in text
    assert float(text.rsplit(" ", 1)[1].rstrip(")")) <= 1e-5
    return text


# ---------------------------------------------------------------- order of rows and of values


def test_order_of_rows(x, rng):
    y = x.reshape(80, -1)
    order = np.r_[0:10, rng.permutation(np.arange(10, 80))]
    text = _confirmed(_said({"y": y}, {"y": y[order] + np.float32(1e-7)}), "order of rows: ")
    moved = np.flatnonzero(order != np.arange(80))
    assert f"order of rows: {len(moved)} of 80 rows of b have the values of another row of a" in text
    assert f"e.g. id {moved[0]} of b is id {order[moved[0]]} of a" in text


def test_order_of_more_rows_than_are_looked_at(rng, record):
    y = rng.normal(size=(9000, 12)).astype("f4")
    y[rng.permutation(9000)[:2000]] = 0  # rows that nobody can tell apart
    order = np.roll(np.arange(9000), 1)
    noisy = y[order] + rng.normal(0, 1e-7, y.shape).astype("f4")
    text = _confirmed(_said(record({"y": y}), record({"y": noisy})), "order of rows: ")
    moved = (y != y[order]).any(axis=1).sum()
    counted = int(text.split()[3].replace(",", ""))
    assert moved - 5 <= counted <= moved  # rows that nearly agree are not counted


def test_rows_of_which_one_is_wrong_are_no_order(rng):
    y = rng.normal(size=(50, 12))
    other = y[::-1].copy()
    other[4] += 0.1
    assert _said({"y": y}, {"y": other}) is None


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 3, 2)])
def test_transposed(x, order):
    moved = x.transpose(order)
    names = [f"axis{axis}" for axis in order[1:]]
    text = _confirmed(_said({"y": x}, {"y": moved}), "transposed or flattened in another order: ")
    assert f"lie there as (axis1 12, axis2 8, axis3 5), in the order ({', '.join(names)})" in text
    text = _confirmed(
        _said({"x": x, "y": x.reshape(80, -1)}, {"x": x, "y": moved.reshape(80, -1)}), "transposed"
    )
    assert f"(axis1 12, axis2 8, axis3 5), in the order ({', '.join(names)})" in text


def test_heads_and_their_units_exchanged(rng):
    y = rng.normal(size=(40, 7, 24))
    other = y.reshape(40, 7, 4, 6).swapaxes(2, 3).reshape(40, 7, 24)
    text = _confirmed(_said({"y": y}, {"y": other}), "transposed: ")
    assert "the 24 values of axis2 are 4 × 6 in a and 6 × 4 in b" in text


@pytest.mark.parametrize(
    ("axes", "names"), [((3,), "channel"), ((1,), "height"), ((1, 2), "height and width")]
)
def test_back_to_front(x, record, axes, names):
    a, b = record({"y": x}, {"y": LAST}), record({"y": np.flip(x, axes)}, {"y": LAST})
    assert f"back to front: b is a with {names} turned around" in _confirmed(_said(a, b), "back")


def test_shifted(x, record):
    moved = np.roll(x, (1, -1), (1, 2))
    moved[:, 0], moved[:, :, -1] = 0, 0
    a, b = record({"y": x}, {"y": LAST}), record({"y": moved}, {"y": LAST})
    assert "b is a moved by +1 along height and -1 along width" in _confirmed(_said(a, b), "shifted: ")


def test_same_padding_of_an_even_kernel_without_its_input(x, rng):
    """At stride 1 the outputs themselves are shifted."""
    kernel = _t(rng.normal(size=(6, 5, 2, 2)))
    a = _last(F.conv2d(F.pad(_first(x), (1, 0, 1, 0)), kernel))
    b = _last(F.conv2d(F.pad(_first(x), (0, 1, 0, 1)), kernel))
    _confirmed(_said({"y": a}, {"y": b}), "shifted: b is a moved by -1 along axis1 and -1 along axis2")


# ---------------------------------------------------------------- scale and lines


@pytest.mark.parametrize(("factor", "said"), [(255, "× 255."), (1 / 255, "× 1/255."), (-0.37, "× -0.37.")])
def test_scale(x, factor, said):
    assert said in _confirmed(_said({"y": x}, {"y": x * np.float32(factor)}), "scale: b is a ")


def test_scale_and_shift(x):
    text = _confirmed(_said({"y": x}, {"y": 2 * x - 1}), "scale: b is a × 2 − 1.")
    assert "−1…1 and 0…1" in text
    _confirmed(_said({"y": x}, {"y": x + np.float32(0.25)}), "scale: b is a + 0.25.")


def test_inputs_that_were_scaled_and_a_bias_that_was_not(x, rng):
    weights, bias = _t(rng.normal(size=(6, 5))), _t(rng.normal(size=6))
    a, b = (_n(F.linear(_t(each), weights, bias)) for each in (x, x / 255))
    _confirmed(_said({"y": a}, {"y": b}), "scale: b is a × 1/255 plus a number for each axis3")
    without = _n(F.linear(_t(x), weights))
    _confirmed(_said({"y": a}, {"y": without}), "bias: b is a plus a number for each axis3")


def test_another_scale_of_each_channel(x, record, rng):
    mean, deviation = rng.normal(size=5), rng.uniform(0.5, 2, 5)
    a, b = record({"y": x}, {"y": LAST}), record({"y": ((x - mean) / deviation).astype("f4")}, {"y": LAST})
    text = _confirmed(_said(a, b), "another scale and shift for each channel: b is s·a + t with s from ")
    assert f"from {1 / deviation.max():.3g} to {1 / deviation.min():.3g}" in text


def test_one_side_is_constant(x):
    said = _confirmed(
        _said({"y": x}, {"y": np.full_like(x, 0.25)}), "constant: every value of b is 0.25, those of a"
    )
    assert "weights that were not loaded" in said
    _confirmed(_said({"y": np.zeros_like(x)}, {"y": x}), "constant: every value of a is 0, those of b differ")
    assert _said({"y": np.full_like(x, 0.5)}, {"y": np.zeros_like(x)}) is None
    assert _said({"y": np.zeros_like(x)}, {"y": np.full_like(x, 0.5)}) is None


# ---------------------------------------------------------------- activations, dropout, precision


_FORMS = {
    "ReLU": F.relu,
    "ReLU6": F.relu6,
    "exact GELU": F.gelu,
    "tanh-approximated GELU": lambda v: F.gelu(v, approximate="tanh"),
    "SiLU": F.silu,
    "ELU": F.elu,
    "SELU": F.selu,
    "softplus": F.softplus,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard sigmoid (relu6(x + 3) / 6)": F.hardsigmoid,
    "hard swish": F.hardswish,
    "leaky ReLU of negative slope 0.01": F.leaky_relu,
    "leaky ReLU of negative slope 0.3": lambda v: F.leaky_relu(v, 0.3),
}


@pytest.mark.parametrize("first", _FORMS)
def test_another_activation(x, first):
    second = list(_FORMS)[list(_FORMS).index(first) - 1]
    wide = 3 * x
    a, b = (_n(_FORMS[name](_t(wide))) for name in (first, second))
    text = _of(wide, a, b)
    _confirmed(text, f"activation: of x, a is {first} and b is {second} ")


@pytest.mark.parametrize("swap", [False, True])
def test_tanh_for_exact_gelu_without_the_input(x, swap):
    a, b = _n(F.gelu(_t(x))), _n(F.gelu(_t(x), approximate="tanh"))
    names = ("the exact GELU", "its tanh approximation")
    if swap:
        (a, b), names = (b, a), names[::-1]
    found = diff({"y": a}, {"y": b})
    assert found.layers[0].cka_gap < 1e-6  # which CKA does not see
    _confirmed(found.diagnosis, f"activation: a is {names[0]}, b is {names[1]} (GELU, tanh against exact)")


@pytest.mark.parametrize(("slope_a", "slope_b"), [(0.01, 0.3), (0.3, 0.01), (0.2, 0.1), (0.01, 0.017)])
def test_negative_slope(x, slope_a, slope_b):
    a, b = (_n(F.leaky_relu(_t(x), slope)) for slope in (slope_a, slope_b))
    text = _confirmed(_said({"y": a}, {"y": b}), "another negative slope: positive values agree")
    assert f"those of a × {slope_b / slope_a:.4g}" in text
    assert (f", as {slope_b:g} against {slope_a:g}." in text) is (slope_b != 0.017)


def test_an_activation_that_is_missing(x):
    _confirmed(_said({"y": x}, {"y": _n(F.relu(_t(x)))}), "activation: b is ReLU of a. It is missing in a")
    _confirmed(
        _said({"y": _n(torch.tanh(_t(x)))}, {"y": x}), "activation: a is tanh of b. It is missing in b"
    )
    text = _of(x, _n(F.silu(_t(x))), x)
    _confirmed(text, "activation: of x, a is SiLU and b is its input, unchanged (no activation)")


def test_dropout(rng):
    y = rng.normal(size=(60, 100)).astype("f4")
    dropped = _n(F.dropout(_t(y), 0.2))
    text = _confirmed(_said({"y": y}, {"y": dropped}), "dropout is on in b: ")
    assert f"{(dropped == 0).mean():.0%} of its values are 0" in text
    assert "× 1.25" in text
    _confirmed(_said({"y": dropped}, {"y": y}), "dropout is on in a: ")
    assert (
        _said({"y": y}, {"y": np.where(rng.random(y.shape) < 0.4, 0, y * np.float32(1.25))}) is None
    )  # 0.4 ≠ 0.2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(x, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    narrow = x.astype(dtype if dtype == "float16" else ml_dtypes.bfloat16)
    said = f"stored as {dtype}, and the difference is that of rounding to it"
    assert said in _confirmed(_said({"y": x}, {"y": narrow}), "precision: b is ")
    assert said in _confirmed(_said({"y": narrow}, {"y": x}), "precision: a is ")
    several = 6 * float(ml_dtypes.finfo(narrow.dtype).eps) * np.random.default_rng(1).normal(size=x.shape)
    text = _said({"y": x}, {"y": (x * (1 + several)).astype(narrow.dtype)})
    assert text.startswith(f"likely precision: b is stored as {dtype}, and was computed in it too")
    assert "precision" not in (_said({"y": x}, {"y": (x + 1 + x**2).astype(narrow.dtype)}) or "")


# ---------------------------------------------------------------- norms


def _batch_norm(x, mean, variance, weight, bias, eps):
    return _last(F.batch_norm(_first(x), *map(_t, (mean, variance, weight, bias)), eps=eps))


@pytest.fixture
def statistics(rng):
    """x with channels of other means and variances, and running statistics near them; weight and bias."""
    deviation = rng.uniform(0.2, 0.6, 5)
    mean = rng.uniform(0.2, 1, 5)
    x = (mean + deviation * rng.normal(size=(80, 6, 4, 5))).astype("f4")
    near = mean * rng.uniform(0.9, 1.1, 5), deviation**2 * rng.uniform(0.7, 1.4, 5)
    return x, *near, rng.uniform(0.5, 1.5, 5), rng.normal(size=5)


@pytest.mark.parametrize(("eps_a", "eps_b"), [(1e-5, 1e-3), (1e-3, 1e-5)])
def test_batch_norm_eps(statistics, eps_a, eps_b):
    x, *parameters = statistics
    a, b = (_batch_norm(x, *parameters, eps) for eps in (eps_a, eps_b))
    _confirmed(_of(x, a, b), f"another norm eps: {eps_a:g} in a and {eps_b:g} in b, or near that")


def test_batch_norm_with_another_weight_is_not_called_eps(statistics):
    x, mean, variance, weight, bias = statistics
    a = _batch_norm(x, mean, variance, weight, bias, 1e-5)
    b = _batch_norm(x, mean, variance, weight * [0.999, 0.99, 0.95, 0.9, 0.8], bias, 1e-5)
    _confirmed(_of(x, a, b), "another scale and shift for each axis3")
    b = _batch_norm(x, mean * 20, variance, weight * [0.99, 0.98, 0.99, 0.97, 0.99], bias, 1e-5)
    _confirmed(_of(x, a, b), "another scale and shift for each axis3")


def test_running_mean_and_variance_exchanged(statistics):
    x, mean, variance, weight, bias = statistics
    a = _batch_norm(x, mean, variance, weight, bias, 1e-5)
    b = _batch_norm(x, variance, mean, weight, bias, 1e-5)
    _confirmed(_of(x, a, b), "running mean and variance are exchanged in b.")


def test_running_mean_and_variance_exchanged_where_means_are_negative(statistics):
    x, mean, variance, weight, bias = statistics
    sign = np.array([1, -1, 1, -1, 1])
    x, mean = (x * sign).astype("f4"), mean * sign
    a = _batch_norm(x, mean, variance, weight, bias, 1e-5)
    b = _batch_norm(x, variance, mean, weight, bias, 1e-5)
    assert np.isnan(b[..., 1]).all()
    found = diff({"x": x, "y": a}, {"x": x, "y": b})
    said = "running mean and variance are exchanged in b, and NaN in the 2 channels whose mean is negative"
    _confirmed(found.diagnosis, said)
    b[3, 2, 1, 0] = np.nan  # NaN in a part of a channel says nothing of means
    b[..., 1] = a[..., 1]
    assert diff({"x": x, "y": a}, {"x": x, "y": b}).diagnosis is None


_SAMPLE_NORMS = {
    "layer norm over the last axis": lambda v, eps: _n(F.layer_norm(_t(v), (5,), *_affine(5), eps=eps)),
    "RMS norm over the last axis": lambda v, eps: _n(F.rms_norm(_t(v), (5,), _affine(5)[0], eps=eps)),
    "group norm of 5 groups": lambda v, eps: _last(F.group_norm(_first(v), 5, *_affine(5), eps=eps)),
    "layer norm over all axes": lambda v, eps: _last(F.group_norm(_first(v), 1, *_affine(5), eps=eps)),
}


def _affine(units):
    rng = np.random.default_rng(7)
    return _t(rng.uniform(0.5, 1.5, units)), _t(rng.normal(size=units))


@pytest.mark.parametrize(("eps_a", "eps_b"), [(1e-5, 1e-3), (1e-5, 1e-6), (1e-6, 1e-3)])
@pytest.mark.parametrize("name", _SAMPLE_NORMS)
def test_sample_norm_eps(x, name, eps_a, eps_b):
    narrow = 0.3 * x
    a, b = (_SAMPLE_NORMS[name](narrow, eps) for eps in (eps_a, eps_b))
    text = _confirmed(
        _of(narrow, a, b), f"another norm eps: {eps_a:.3g} in a and {eps_b:.3g} in b, or near that ("
    )
    assert name in text


def test_group_norm_eps_of_two_groups(rng):
    x = rng.normal(size=(80, 4, 3, 6)).astype("f4")
    a, b = (_last(F.group_norm(_first(x), 2, *_affine(6), eps=eps)) for eps in (1e-5, 1e-3))
    assert "(group norm of 2 groups)" in _confirmed(
        _of(x, a, b), "another norm eps: 1e-05 in a and 0.001 in b"
    )


def test_a_norm_whose_input_had_another_shape(rng):
    x = 0.3 * rng.normal(size=(80, 60)).astype("f4")
    a, b = (_n(F.layer_norm(_t(x.reshape(80, 5, 12)), (12,), *_affine(12), eps=eps)) for eps in (1e-5, 1e-3))
    _confirmed(_of(x, a, b), "another norm eps: 1e-05 in a and 0.001 in b")


def test_a_norm_with_another_weight_is_not_called_eps(x):
    weight, bias = _affine(5)
    a = _n(F.layer_norm(_t(x), (5,), weight, bias))
    b = _n(F.layer_norm(_t(x), (5,), weight * torch.linspace(1, 1.01, 5), bias))
    assert "eps" not in _of(x, a, b)
    assert _of(x, a, _n(F.layer_norm(_t(x * x), (5,), weight, bias))) is None


# ---------------------------------------------------------------- convolutions and pooling


@pytest.fixture
def kernel(rng):
    return _t(rng.normal(size=(6, 5, 3, 3)) / 7), _t(rng.normal(size=6))


def test_same_padding_at_stride_2(x, kernel):
    a = _last(F.conv2d(_first(x), *kernel, stride=2, padding=1))
    b = _last(F.conv2d(F.pad(_first(x), (0, 1, 0, 1)), *kernel, stride=2))
    found = diff({"x": x, "y": a}, {"x": x, "y": b})
    text = _confirmed(found.diagnosis, "SAME padding: the kernel of b reads its input 1 down and 1 right")
    assert (
        "'SAME' at stride 2 pads an even size by 0 before and 1 behind, PyTorch's padding=1 by 1 and 1"
        in text
    )
    assert "1 up and 1 left" in _confirmed(_of(x, b, a), "SAME padding")
    odd = x[:, :11]
    a = _last(F.conv2d(_first(odd), *kernel, stride=2, padding=1))
    b = _last(F.conv2d(F.pad(_first(odd), (0, 1, 1, 1)), *kernel, stride=2))
    assert "reads its input 1 right of where" in _confirmed(
        _of(odd, a, b), "SAME padding"
    )  # the width alone is even


def test_same_padding_of_a_depthwise_convolution(x, rng):
    weights = _t(rng.normal(size=(10, 1, 3, 3)))
    a = _last(F.conv2d(_first(x), weights, stride=2, padding=1, groups=5))
    b = _last(F.conv2d(F.pad(_first(x), (0, 1, 0, 1)), weights, stride=2, groups=5))
    _confirmed(_of(x, a, b), "SAME padding: the kernel of b reads its input 1 down and 1 right")


def test_same_padding_of_a_sequence(rng):
    x = rng.normal(size=(80, 30, 4)).astype("f4")
    weights = _t(rng.normal(size=(6, 4, 5)))
    ahead = np.moveaxis(x, -1, 1)
    a = _last(F.conv1d(_t(ahead), weights, stride=2, padding=2))
    b = _last(F.conv1d(F.pad(_t(ahead), (1, 2)), weights, stride=2))
    _confirmed(_of(x, a, b), "SAME padding: the kernel of b reads its input 1 right of where that of a does")


def test_a_kernel_that_is_flipped_or_transposed(x, kernel):
    weights, bias = kernel
    a = _last(F.conv2d(_first(x), weights, bias, padding=1))
    flipped = _last(F.conv2d(_first(x), weights.flip(2, 3), bias, padding=1))
    _confirmed(
        _of(x, a, flipped), "kernel flipped: the kernel of b is that of a upside down and back to front"
    )
    exchanged = _last(F.conv2d(_first(x), weights.transpose(2, 3), bias, padding=1))
    _confirmed(_of(x, a, exchanged), "kernel transposed: height and width of the kernel are exchanged in b")
    bgr = _last(F.conv2d(_first(x), weights.flip(1), bias, padding=1))
    _confirmed(_of(x, a, bgr), "the kernel of b meets the channels of its input from the end")


def test_a_transposed_convolution_that_is_not_flipped(x, rng):
    weights = _t(rng.normal(size=(5, 4, 4, 2)))
    a = _last(F.conv_transpose2d(_first(x), weights, stride=2, padding=(1, 0)))
    b = _last(F.conv_transpose2d(_first(x), weights.flip(2, 3), stride=2, padding=(1, 0)))
    _confirmed(_of(x, a, b), "kernel flipped: ")


def test_another_kernel_is_no_mistake_that_is_known(x, kernel, rng):
    a = _last(F.conv2d(_first(x), *kernel, stride=2, padding=1))
    other = _t(rng.normal(size=(6, 5, 3, 3)) / 7)
    assert _of(x, a, _last(F.conv2d(_first(x), other, kernel[1], stride=2, padding=1))) is None
    both = _last(F.conv2d(F.pad(_first(x), (0, 1, 0, 1)), kernel[0].flip(1) * 1.1, kernel[1], stride=2))
    assert _of(x, a, both) is None


class _Net(torch.nn.Module):
    def __init__(self, padding, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.pad = torch.nn.ZeroPad2d(padding)
        self.conv = torch.nn.Conv2d(5, 6, 3, stride=2)
        self.bn = torch.nn.BatchNorm2d(6)

    def forward(self, x):
        return self.bn(self.conv(self.pad(x)))


def _recorded(model, x, path, layers):
    return actlens.record(model, [(_first(x),)], path, layers=layers, progress=False)


def test_padding_without_the_input_is_only_likely(x, tmp_path):
    layers = ["conv"]
    a = _recorded(_Net((1, 1, 1, 1)), x, tmp_path / "a", layers)
    b = _recorded(_Net((0, 1, 0, 1)), x, tmp_path / "b", layers)
    text = _said(a, b, first="conv")
    assert text.startswith("likely the kernel is the same and reads other places: ")
    assert "'SAME' at stride 2" in text
    assert "Record the input on both sides to be sure: layers=[…, 'conv@input']" in text
    layers = ["conv", "conv@input"]
    c = _recorded(_Net((1, 1, 1, 1), seed=3), x, tmp_path / "c", ["conv"])  # another kernel
    assert _said(a, c, first="conv") is None


def test_norm_eps_without_the_input_is_only_likely(x, tmp_path):
    model = _Net((1, 1, 1, 1))
    a = _recorded(model, x, tmp_path / "a", ["bn"])
    model.bn.eps = 1e-3
    text = _said(a, _recorded(model, x, tmp_path / "b", ["bn"]), first="bn")
    assert text.startswith(("likely another norm eps: ", "scale: b is a × 0.9995"))
    with torch.no_grad():
        model.bn.running_var.copy_(torch.linspace(0.1, 1, 6))
    a = _recorded(model, x, tmp_path / "c", ["bn"])
    model.bn.eps = 1e-5
    text = _said(a, _recorded(model, x, tmp_path / "d", ["bn"]), first="bn")
    assert text.startswith("another scale and shift for each channel")


def test_pooling(x):
    def pooled(function, *args, **options):
        return _last(function(_first(x), *args, **options))

    highest = pooled(F.max_pool2d, 3, 2, 1)
    average = pooled(F.avg_pool2d, 3, 2, 1)
    _confirmed(
        _of(x, highest, average), "another pooling: a is maximum, over 3 × 3, 1 padded before; b is average"
    )
    without = pooled(F.avg_pool2d, 3, 2, 1, count_include_pad=False)
    text = _confirmed(_of(x, average, without), "another pooling: a is average, the border counted")
    assert "b is average, the border not counted, over 3 × 3, 1 padded before" in text
    ahead = F.pad(_first(x), (0, 1, 0, 1), value=-np.inf)
    text = _confirmed(_of(x, highest, _last(F.max_pool2d(ahead, 3, 2))), "another pooling: ")
    assert "b is maximum, over 3 × 3, 0 padded before" in text


# ---------------------------------------------------------------- dense layers


@pytest.mark.parametrize("rows", [400, 80])  # 80 is less than 120 features, and twice as many equations
def test_flattened_in_another_order(rng, record, rows):
    x = rng.normal(size=(rows, 3, 8, 4 if rows > 100 else 5)).astype("f4")
    features = x[0].size
    if rows == 80:
        x = x[:, :, :4]
        features = x[0].size
    weights, bias = _t(rng.normal(size=(10, features))), _t(rng.normal(size=10))
    a = record({"x": x, "y": _n(F.linear(_t(x.reshape(rows, -1)), weights, bias))}, {"x": IMAGES})
    last = x.transpose(0, 2, 3, 1)
    b = record({"x": last, "y": _n(F.linear(_t(last.reshape(rows, -1)), weights, bias))}, {"x": LAST})
    text = _confirmed(_said(a, b), "flattened in another order: the weights of b fit x flattened as ")
    assert "(channel, height, width), and it is flattened as (height, width, channel)" in text


def test_flattened_in_another_order_with_too_few_rows_is_only_likely(rng, record):
    x = rng.normal(size=(30, 3, 8, 5)).astype("f4")
    weights = _t(rng.normal(size=(10, 120)))
    a = record({"x": x, "y": _n(F.linear(_t(x.reshape(30, -1)), weights))}, {"x": IMAGES})
    last = x.transpose(0, 2, 3, 1)
    b = record({"x": last, "y": _n(F.linear(_t(last.reshape(30, -1)), weights))}, {"x": LAST})
    text = _said(a, b)
    assert text.startswith(
        "likely flattened in another order: x lies as (channel, height, width) in a and as "
    )
    assert "Only 30 rows are there" in text
    same = record({"x": x, "y": _n(F.linear(_t(x.reshape(30, -1)), -weights.flip(0)))}, {"x": IMAGES})
    assert _said(a, same) is None  # both sides store images alike


def test_transposed_weights(rng):
    x = rng.normal(size=(200, 6, 16)).astype("f4")
    weights, bias = _t(rng.normal(size=(16, 16))), _t(rng.normal(size=16))
    a, b = (_n(F.linear(_t(x), each, bias)) for each in (weights, weights.T))
    _confirmed(_of(x, a, b), "transposed: the weights of b are those of a with rows and columns exchanged")
    other = _n(F.linear(_t(x), _t(rng.normal(size=(16, 16))), bias))
    assert _of(x, a, other) is None


def test_heads_in_another_order_before_a_dense_layer(rng):
    x = rng.normal(size=(60, 7, 24)).astype("f4")
    weights = _t(rng.normal(size=(10, 24)))
    moved = x.reshape(60, 7, 4, 6).swapaxes(2, 3).reshape(60, 7, 24)
    a, b = (_n(F.linear(_t(each), weights)) for each in (x, moved))
    _confirmed(_of(x, a, b), "flattened in another order: the weights of b fit x as ")
    backwards = _n(F.linear(_t(x), weights.flip(1)))
    _confirmed(_of(x, a, backwards), "the weights of b meet axis2 of x from its end")


def test_inputs_that_hardly_vary_do_not_hide_a_mistake(rng):
    """One direction has a millionth of the variance: a map that is fitted to a alone is wrong there."""
    basis = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    x = (rng.normal(size=(300, 24)) * np.geomspace(1, 1e-4, 24)) @ basis
    weights = rng.normal(size=(24, 10))
    order = np.arange(24).reshape(4, 6).T.reshape(-1)
    a, b = x @ weights, x[:, order] @ weights
    _confirmed(_of(x, a, b), "flattened in another order: ")


# ---------------------------------------------------------------- none, two, and later layers


@pytest.mark.parametrize("seed", range(8))
def test_random_differences_have_no_diagnosis(seed, record):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(70, 6, 4, 3)).astype("f4")
    y = np.tanh(x @ rng.normal(size=(3, 3))).astype("f4")
    noise = 10.0 ** -rng.integers(0, 5)
    noisy = y + noise * rng.normal(size=y.shape).astype("f4")
    a, b = (
        record({"x": x, "y": y}, {"x": LAST, "y": LAST}),
        record({"x": x, "y": noisy}, {"x": LAST, "y": LAST}),
    )
    found = diff(a, b)
    assert (found.first, found.diagnosis) == ("y", None)
    flat = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))  # few rows and units fit much
    assert diff({"y": flat[0]}, {"y": flat[1]}).diagnosis is None
    assert diff({"x": flat[0], "y": flat[0][:, :1]}, {"x": flat[0], "y": flat[1][:, :1]}).diagnosis is None
    assert diff({"y": flat[0][:1, :2]}, {"y": flat[1][:1, :2]}).diagnosis is None


def test_two_mistakes_at_once_are_neither(x, rng):
    wrong = _n(F.gelu(_t(x), approximate="tanh")) * np.float32(1.01) + np.float32(0.02) * x
    assert _of(x, _n(F.gelu(_t(x))), wrong) is None
    y = x.reshape(80, -1)
    assert _said({"y": y}, {"y": y[rng.permutation(80)] * np.float32(1.02)}) is None


def test_a_difference_that_a_mistake_explains_in_part_is_not_called_it(x):
    tanh = _n(F.gelu(_t(x), approximate="tanh"))
    left = tanh + np.float32(3e-4) * np.random.default_rng(0).normal(size=x.shape).astype("f4")
    assert _of(x, _n(F.gelu(_t(x))), left) is None


def test_the_first_layer_decides_and_later_ones_only_with_their_own_input(x):
    gelu, tanh = _n(F.gelu(_t(x))), _n(F.gelu(_t(x), approximate="tanh"))
    other = x[:, ::-1].copy()
    exact, flat = _n(F.silu(_t(other))), _n(F.relu(_t(other)))
    a = {"x": x, "y": gelu, "after": gelu @ np.eye(5, dtype="f4"), "z@input": other, "z": exact}
    b = {"x": x, "y": tanh, "after": tanh @ np.eye(5, dtype="f4"), "z@input": other, "z": flat}
    found = diff(a, b)
    assert found.first == "y"
    assert found["after"].diverges
    assert found["after"].diagnosis == ""  # what goes into it differs: nothing is said
    assert found["z"].diagnosis.startswith("activation: of z@input, a is SiLU and b is ReLU")
    assert "diagnosis of z: activation: of z@input" in str(found)
    found = diff(a, b | {"z@input": other + 1})
    assert found["z"].diagnosis == ""


def test_rows_with_nan_are_left_out(x):
    a, b = _n(F.gelu(_t(x))), _n(F.gelu(_t(x), approximate="tanh"))
    a[4, 0, 0, 0] = b[4, 0, 0, 0] = np.nan
    assert "GELU" in _confirmed(_of(x, a, b), "activation: ")


def test_values_beyond_squares_are_no_traceback(rng):
    y = rng.normal(size=(40, 6)) * 1e300
    assert diff({"y": y}, {"y": y * rng.normal(size=y.shape)}).first == "y"
    assert diff({"x": y, "y": y}, {"x": y, "y": -y[::-1]}).first == "y"


def test_the_layer_before_may_be_a_few_layers_before(x, kernel):
    """Branches: the layer before in the forward is another branch's."""
    a = _last(F.conv2d(_first(x), *kernel, stride=2, padding=1))
    b = _last(F.conv2d(F.pad(_first(x), (0, 1, 0, 1)), *kernel, stride=2))
    branch = np.tanh(x[:, ::2])
    said = _said({"x": x, "branch": branch, "y": a}, {"x": x, "branch": branch, "y": b})
    _confirmed(said, "SAME padding")
