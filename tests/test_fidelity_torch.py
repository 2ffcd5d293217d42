"""Fidelity in PyTorch: ten architectures, with and without capture, and every layer against numpy."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fidelity_check import EVERYTHING, Array, assert_fidelity, assert_same_bits, noise
from fidelity_torch_models import MODELS, TOKENS, WIDTH, WORDS, Attention
from fidelity_torch_oracles import between, oracles
from torch import nn

import actlens

# MultiheadAttention uses the weights of its out_proj without calling it
LAYERS = [*EVERYTHING, "!**.out_proj", "!**.out_proj@input"]
Acts = dict[str, Array]


def build(name: str) -> nn.Module:
    """Make a model whose every weight and statistic is random: what is left at 0 or 1 hides mistakes."""
    torch.manual_seed(7)
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_bias, 0, 0.3)
            nn.init.normal_(module.out_proj.bias, 0, 0.3)
    return model.eval()


def inputs(name: str) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(8)
    if name in {"encoder", "decoder"}:
        return [torch.randint(0, WORDS, (2, TOKENS), generator=random)]
    if name == "recurrent":
        return [torch.randn(2, TOKENS, WIDTH, generator=random)]
    if name == "siamese":
        return [torch.randn(3, WIDTH, generator=random) for _ in range(2)]
    return [torch.randn(2, 3, *((12, 8) if name in {"vit", "mixer"} else (10, 8)), generator=random)]


def given(model: nn.Module, x: list[torch.Tensor]) -> list[Array]:
    """What goes in from outside: the inputs and the masks."""
    masks = [module.mask for module in model.modules() if isinstance(module, Attention)]
    return [value.numpy().copy() for value in [*x, *masks] if value is not None]


def captured(model: nn.Module, x: list[torch.Tensor]) -> tuple[Array, Acts]:
    output, acts = actlens.capture(model, LAYERS)(*x)
    return output.detach().numpy(), {key: value.detach().numpy() for key, value in acts.items()}


@pytest.fixture
def no_fast_path() -> Iterator[None]:
    """Make attention call its layers one by one, as it does while it is captured."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(was)


@pytest.mark.usefixtures("no_fast_path")
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_what_numpy_computes(name: str, mode: Callable[[], Any]) -> None:
    model, x = build(name), inputs(name)
    with mode():
        outside, plain = given(model, x), model(*x).detach().numpy()
        output, acts = captured(model, x)
    assert_fidelity(outside, plain, output, acts, oracles(model), between(model))


def test_a_shared_tower_and_a_shared_activation_keep_every_call() -> None:
    _, acts = captured(build("siamese"), inputs("siamese"))
    assert {"tower", "tower:2", "tower.1", "tower.1:2", "tower.3:2@input"} <= set(acts)
    _, acts = captured(build("cnn"), inputs("cnn"))
    assert {"3.act", "3.act:2", "5.act:2@input"} <= set(acts)


def trained(model: nn.Module, forward: Callable[..., torch.Tensor], x: list[torch.Tensor]) -> list[Array]:
    """Go forward and back in training mode; give the output, the gradients and the statistics."""
    torch.manual_seed(9)  # of the dropout
    output = forward(*x)
    output.square().sum().backward()
    grads = [value.grad for value in model.parameters()]
    return [value.detach().numpy() for value in (output, *grads, *model.buffers())]


@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same_with_capture(name: str) -> None:
    model, x = build(name).train(), inputs(name)
    other, untouched = copy.deepcopy(model), copy.deepcopy(model)
    forward = actlens.capture(other, LAYERS)
    plain = trained(model, model, x)
    for a, b in zip(plain, trained(other, lambda *x: forward(*x)[0], x), strict=True):
        assert_same_bits(a, b)
    assert all(grad.any() for grad in plain[1:])
    for a, b in zip(model.buffers(), untouched.buffers(), strict=True):
        assert not torch.equal(a, b)  # BatchNorm did learn


@pytest.mark.parametrize("name", ["encoder", "decoder", "vit"])
def test_without_gradients_attention_has_a_fast_path_that_capture_leaves(name: str) -> None:
    model, x = build(name), inputs(name)
    with torch.no_grad():
        plain = model(*x).numpy()
        output, acts = captured(model, x)
    # measured: 0, 1.6e-7 and 0; the report of a capture says that it may differ
    assert noise(plain, output) <= 1e-6
    assert_fidelity(given(model, x), output, output, acts, oracles(model), between(model))


def swapped(acts: Acts) -> None:
    acts["3.conv1"], acts["3.conv2"] = acts["3.conv2"], acts["3.conv1"]


def one_element(acts: Acts) -> None:
    values = acts["3.conv1"].reshape(-1)
    values[np.argsort(np.abs(values))[len(values) // 2]] *= 1.001


def the_last_layer(acts: Acts) -> None:
    acts["7"] *= np.float32(1.001)


def last_bit_of_an_input(acts: Acts) -> None:
    acts["3.conv1@input"].reshape(-1).view(np.uint32)[0] ^= 1


def an_input_overwritten_by_its_own_layer(acts: Acts) -> None:
    acts["2@input"] = acts["2"]


def an_input_after_an_operation(acts: Acts) -> None:
    acts["3.act:2@input"] += 1e-3


def overwritten_in_place(acts: Acts) -> None:
    acts["3.bn2"] = acts["3"]


def half_of_it_in_place(acts: Acts) -> None:
    acts["3.act:2"] /= 2


def first_call_twice(acts: Acts) -> None:
    acts["3.act:2"], acts["3.act:2@input"] = acts["3.act"], acts["3.act@input"]


def samples_swapped(acts: Acts) -> None:
    acts["5.conv2"] = acts["5.conv2"][::-1]


def without_the_samples(acts: Acts) -> None:
    acts["5.conv2"] = acts["5.conv2"][0]


def a_layer_less(acts: Acts) -> None:
    del acts["5.conv1"], acts["5.conv1@input"]


def a_layer_more(acts: Acts) -> None:
    acts["8"] = acts["8@input"] = acts["7"]


def not_a_number(acts: Acts) -> None:
    acts["4"].reshape(-1)[0] = np.nan


FAULTS = {
    swapped: r"3\.conv1: \d+ of \d+ values differ",
    one_element: r"3\.conv1: 1 of \d+ values differ",
    the_last_layer: r"the model: \d+ of 6 values differ",
    last_bit_of_an_input: r"3\.conv1@input comes from nowhere",
    an_input_overwritten_by_its_own_layer: "2@input comes from nowhere",
    an_input_after_an_operation: r"3\.act:2@input: \d+ of \d+ values differ",
    overwritten_in_place: r"3\.act:2@input: \d+ of \d+ values differ",
    half_of_it_in_place: r"3\.act:2: \d+ of \d+ values differ",
    first_call_twice: r"3\.act:2@input: \d+ of \d+ values differ",
    samples_swapped: r"5\.bn2@input comes from nowhere|5\.conv2: \d+ of",
    without_the_samples: r"5\.conv2 has the shape",
    a_layer_less: r"comes from nowhere|never captured: \['5\.conv1'\]",
    a_layer_more: "8 was captured, and nothing says what it should be",
    not_a_number: r"4: 1 of \d+ values differ",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_capture_fails(fault: Callable[[Acts], None]) -> None:
    model, x = build("cnn"), inputs("cnn")
    outside, plain = given(model, x), model(*x).detach().numpy()
    output, acts = captured(model, x)
    acts = {key: value.copy() for key, value in acts.items()}
    fault(acts)
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        assert_fidelity(outside, plain, output, acts, oracles(model), between(model))


def test_calls_in_the_wrong_order_fail() -> None:
    """Each call fits itself; which was the first shows only in what comes after both."""
    model, x = build("siamese"), inputs("siamese")
    output, acts = captured(model, x)
    first = {key: value for key, value in acts.items() if key.startswith("tower") and ":2" not in key}
    for key, value in first.items():
        second = re.sub(r"(@input)?$", r":2\1", key, count=1)
        acts[key], acts[second] = acts[second], value
    with pytest.raises(AssertionError, match="head@input: 15 of 15 values differ"):
        assert_fidelity(given(model, x), output, output, acts, oracles(model), between(model))


def test_a_stale_capture_fails() -> None:
    model, x = build("cnn"), inputs("cnn")
    output, acts = captured(model, x)
    _, stale = captured(model, [value + 1 for value in x])
    acts |= {key: value for key, value in stale.items() if key.startswith("3.conv1")}  # consistent in itself
    with pytest.raises(AssertionError, match=r"3\.conv1@input comes from nowhere"):
        assert_fidelity(given(model, x), output, output, acts, oracles(model), between(model))


def test_another_output_fails() -> None:
    model, x = build("cnn"), inputs("cnn")
    plain = model(*x).detach().numpy()
    output, acts = captured(model, x)
    with pytest.raises(AssertionError, match="the output changes with capture"):
        assert_fidelity(given(model, x), np.nextafter(plain, 9), output, acts, oracles(model), between(model))
