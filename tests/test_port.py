"""One set of weights in PyTorch, Linen, NNX and Keras: recordings agree, and each mistake of a port shows.

Nothing here is compared by actlens: rows are joined, and numbers compared, in plain numpy (port_check.py).
"""

from __future__ import annotations

import itertools

import numpy as np
import port_layouts as layout
import port_weights as sizes
import pytest
from port_check import canonical, debiased_cka, nearness
from port_mistakes import MISTAKES
from port_runs import FRAMEWORKS, Runs

from actlens.recording import align

# of float32 on a CPU at this depth; 5e-7 and 1e-12 is what comes out
RELATIVE, LARGEST, BEYOND_CKA = 1e-5, 1e-5, 1e-10

FIGURES = {  # (relative Frobenius error, 1 − debiased CKA) that others of the same mistakes had
    "tanh_gelu": (1.7e-4, None),
    "ln_eps_1e-6": (8.6e-5, None),
    "ln_eps_1e-3": (9.3e-3, 8e-6),
    "bn_eps_1e-3": (1.1e-2, 6.4e-5),
    "same_padding": (1.4, 0.58),
    "flatten_order": (1.4, 0.87),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("ports"))


def _pairs():
    for pair in itertools.combinations(FRAMEWORKS, 2):
        slow = () if pair == ("torch", "linen") else pytest.mark.slow
        yield pytest.param(*pair, marks=slow, id="-".join(pair))


def _assert_near(a, b):
    assert tuple(a) == tuple(b) == sizes.LAYERS
    assert a.rows == b.rows == sizes.IMAGES
    for layer in sizes.LAYERS:
        near = nearness(canonical(a, layer), canonical(b, layer))
        assert near.relative < RELATIVE, layer
        assert near.largest < LARGEST, layer
        assert abs(near.beyond_cka) < BEYOND_CKA, layer


@pytest.mark.parametrize(("one", "other"), list(_pairs()))
def test_every_layer_agrees(runs, one, other):
    _assert_near(runs(one), runs(other))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["keras-jax", "keras-torch"])
def test_keras_on_another_backend(runs, backend):
    _assert_near(runs("torch"), runs(backend))


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("mistake", [name for name, (first, _) in MISTAKES.items() if first])
def test_a_mistake_shows_first_where_it_was_made(runs, framework, mistake):
    clean, wrong = runs("torch" if framework != "torch" else "linen"), runs(framework, mistake)
    near = {layer: nearness(canonical(clean, layer), canonical(wrong, layer)) for layer in sizes.LAYERS}
    first, _ = MISTAKES[mistake]
    beyond = [layer for layer in sizes.LAYERS if not near[layer].relative < RELATIVE]
    assert beyond == list(sizes.LAYERS[sizes.LAYERS.index(first) :])
    relative, beyond_cka = near[first].relative, near[first].beyond_cka
    if mistake in FIGURES:
        known, known_cka = FIGURES[mistake]
        assert known / 3 < relative < known * 3
        assert known_cka is None or known_cka / 10 < beyond_cka < known_cka * 10
    else:
        assert relative > 0.1
    if relative < 0.05:  # CKA sees about the square of it, and so nothing of what is small
        assert relative**2 / 30 < beyond_cka < relative**2


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_rows_in_another_order_are_no_mistake(runs, framework):
    clean, shuffled = runs(framework), runs(framework, "shuffled")
    assert clean.ids.tolist() != shuffled.ids.tolist()
    assert sorted(shuffled.ids.tolist()) == clean.ids.tolist()
    _assert_near(clean, shuffled)


@pytest.mark.slow
def test_cka_does_not_see_a_scale(runs):
    """Images that were not divided by 255: the first layer has no bias, and only its norm tells."""
    near = nearness(canonical(runs("torch"), "conv1"), canonical(runs("linen", "scale"), "conv1"))
    assert near.relative == pytest.approx(254, rel=1e-5)
    assert abs(near.beyond_cka) < BEYOND_CKA


def test_some_of_the_rows_backwards(runs, tmp_path):
    pytest.importorskip("torch")
    import port_torch

    backwards = np.arange(sizes.IMAGES - 1, 99, -1)
    some = port_torch.record(tmp_path / "some", order=backwards)
    assert some.ids.tolist() == backwards.tolist()
    a, b = align(runs("torch"), some)
    assert a.rows == b.rows == len(backwards)
    for layer in sizes.LAYERS:
        assert nearness(canonical(a, layer), canonical(b, layer)).relative < RELATIVE


def test_what_the_names_of_axes_protect_from(runs):
    """The same numbers, channels first and last: as they are stored they seem far apart, or not alike."""
    first, last = runs("torch")["conv2"], runs("linen")["conv2"]
    assert first.axes == ("sample", "channel", "height", "width")
    assert last.axes == ("sample", "height", "width", "channel")
    x, y = np.asarray(first[:], "f8"), np.asarray(last[:], "f8")
    flat = nearness(x.reshape(len(x), -1), y.reshape(len(y), -1))
    assert flat.relative > 0.5
    assert abs(flat.beyond_cka) < BEYOND_CKA  # which takes units in any order
    places = debiased_cka(x.reshape(-1, sizes.CONV2)[:2000], y.reshape(-1, sizes.CONV2)[:2000])
    assert places < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "torch"])
def test_what_goes_in_is_recorded_too(runs, framework):
    """The images to the bit; and what is flattened, in another order where channels are last."""
    a, b = runs("torch", inputs=True), runs(framework, inputs=True)
    assert set(a) == set(b) == {*sizes.LAYERS, *sizes.INPUTS}
    images = canonical(a, "conv1@input")
    np.testing.assert_array_equal(images, (sizes.images() / np.float32(255)).astype("f4"))
    np.testing.assert_array_equal(images, canonical(b, "conv1@input"))
    first, last = canonical(a, "fc@input"), canonical(b, "fc@input")
    image = first.reshape(-1, sizes.UP, sizes.UP_HEIGHT, sizes.UP_WIDTH)
    assert nearness(image.transpose(0, 2, 3, 1).reshape(len(image), -1), last).relative < RELATIVE
    assert nearness(first, last).relative > 0.5


def test_layouts_say_where_each_weight_goes():
    """Against the definition of each layer, weight by weight."""
    dense = np.arange(6 * 5).reshape(6, 5)
    conv = np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5)  # (out, in, height, width)
    depthwise = np.arange(6 * 2 * 5).reshape(6, 1, 2, 5)  # of 3 channels
    flat = np.arange(7 * 2 * 3 * 5).reshape(7, -1)  # of images (2, 3, 5)
    packed, bias = np.arange(36 * 12).reshape(36, 12), np.arange(36)
    kernels = layout.heads(packed, bias)
    assert layout.dense(dense)[4, 2] == dense[2, 4]
    assert layout.conv(conv)[1, 4, 2, 3] == conv[3, 2, 1, 4]
    assert layout.transposed(conv)[1, 4, 2, 3] == conv[3, 2, 1, 4]
    assert layout.depthwise_keras(depthwise, 2)[1, 4, 2, 1] == depthwise[2 * 2 + 1, 0, 1, 4]
    after = layout.dense_after_flatten(flat, (2, 3, 5))
    assert after[(2 * 5 + 4) * 2 + 1, 6] == flat[6, (1 * 3 + 2) * 5 + 4]  # row 2, column 4, channel 1
    assert kernels[2][9, 2, 3] == packed[12 + 2 * 4 + 3, 9]  # the key, head 2 of 4 units
    assert kernels[3][2, 3] == bias[12 + 2 * 4 + 3]
    assert layout.joined_heads(packed[:12])[2, 3, 7] == packed[7, 2 * 4 + 3]
    assert [gate.tolist() for gate in layout.gates(np.arange(3)[:, None], "rzn", "zrn")] == [
        [[1]],
        [[0]],
        [[2]],
    ]
