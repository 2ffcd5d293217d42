"""Fidelity in Flax NNX: ten architectures, with and without capture, and every layer against numpy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fidelity_check import EVERYTHING, Array, as_arrays, assert_fidelity, noise
from fidelity_nnx_models import MODELS, TOKENS, WIDTH, WORDS
from fidelity_nnx_oracles import between, oracles
from flax import nnx

import actlens

pytestmark = pytest.mark.slow  # nearly all of it is compilation

# a cell runs in the scan of its RNN, which gives nothing of it
LAYERS = [*EVERYTHING, "!**.cell**", "!**.cell**@input"]


def build(name: str) -> nnx.Module:
    """Make a model whose every weight and statistic is random: what is left at 0 or 1 hides mistakes.

    The initializers of flax are not run: each would be compiled for each shape.
    """
    random = np.random.default_rng(7)

    def value(of: nnx.Variable[Any]) -> nnx.Variable[Any]:
        if isinstance(of, nnx.RngState):
            return of.replace(jax.random.key(7) if isinstance(of, nnx.RngKey) else jnp.zeros((), "uint32"))
        if isinstance(of, nnx.BatchStat):
            return of.replace(jnp.asarray(random.uniform(0.5, 1.5, of.shape), "float32"))
        scale, mean = (1 / np.sqrt(np.prod(of.shape[:-1])), 0) if len(of.shape) > 1 else (0.3, 0.5)
        return of.replace(jnp.asarray(random.normal(mean, scale, of.shape), "float32"))

    definition, state = nnx.split(nnx.eval_shape(lambda: MODELS[name](nnx.Rngs(7))))
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    model = nnx.merge(definition, jax.tree.map(value, state, is_leaf=is_variable))
    model.eval()
    return model


def inputs(name: str) -> list[Array]:
    random = np.random.default_rng(8)
    if name in {"encoder", "decoder"}:
        return [random.integers(0, WORDS, (2, TOKENS), "i4")]
    shape = {
        "recurrent": (2, TOKENS, WIDTH),
        "siamese": (3, WIDTH),
        "vit": (2, 12, 8, 3),
        "mixer": (2, 12, 8, 3),
    }
    count = 2 if name == "siamese" else 1
    return [random.normal(size=shape.get(name, (2, 10, 8, 3))).astype("f4") for _ in range(count)]


@functools.cache  # each operation is compiled for each shape, which takes its time
def captured(name: str) -> tuple[Any, ...]:
    """Give the inputs, the output without capture and with it, the activations, and what they should be."""
    model, x = build(name), inputs(name)
    on_device = [jnp.asarray(value) for value in x]
    plain = model(*on_device)
    output, acts = actlens.capture(model, LAYERS)(*on_device)
    return x, plain, output, as_arrays(acts), oracles(model), between(model)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_what_numpy_computes(name: str) -> None:
    assert_fidelity(*captured(name))


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_in_a_compiled_program(name: str) -> None:
    model, x = build(name), inputs(name)
    forward = actlens.capture(model, LAYERS)
    plain = nnx.jit(lambda model, *x: model(*x))(model, *x)
    output, acts = nnx.jit(lambda model, *x: forward(model, *x))(model, *x)
    # two programs, which XLA may fuse in two ways; measured: 0 for all ten (jax 0.10, on the CPU)
    assert noise(plain, output) <= 1e-6
    assert_fidelity(x, plain, output, acts, oracles(model), between(model), exact=False)


def step(model: nnx.Module, forward: Any, x: list[Array]) -> list[Array]:
    """Go forward and back in training mode; give the output, the gradients and the statistics."""

    def loss(model: nnx.Module) -> tuple[jax.Array, jax.Array]:
        output = forward(model, *x)
        return (output**2).sum(), output

    model.train()
    (_, output), grads = nnx.jit(nnx.value_and_grad(loss, has_aux=True))(model)
    return [
        np.asarray(value) for value in (output, *jax.tree.leaves((grads, nnx.state(model, nnx.BatchStat))))
    ]


@pytest.mark.parametrize("name", ["cnn", "siamese"])
def test_training_is_the_same_with_capture(name: str) -> None:
    model, other, x = build(name), build(name), inputs(name)
    forward = actlens.capture(other, LAYERS)
    plain = step(model, lambda model, *x: model(*x), x)
    heard = step(other, lambda model, *x: forward(model, *x)[0], x)
    assert len(plain) > 5
    for a, b in zip(plain, heard, strict=True):
        assert a.any()
        assert noise(a, b) <= 1e-5  # measured: 0


def test_calls_of_a_shared_layer_and_what_a_cell_hides() -> None:
    acts = captured("siamese")[3]
    assert {"tower", "tower:2", "tower.layers.0:2", "tower.layers.3:2@input"} <= set(acts)
    acts = captured("recurrent")[3]
    assert [key for key in acts if "@" not in key] == [
        "lstm[0][0]",
        "lstm[0][1]",
        "lstm[1]",
        "fast",
        "gru",
        "head",
    ]


def swapped(acts: dict[str, Array]) -> None:
    acts["tower"], acts["tower:2"] = acts["tower:2"], acts["tower"]


def one_element(acts: dict[str, Array]) -> None:
    values = acts["tower.layers.0"].reshape(-1)
    values[np.argsort(np.abs(values))[len(values) // 2]] *= 1.001


def before_the_function(acts: dict[str, Array]) -> None:
    acts["tower.layers.2@input"] = acts["tower.layers.0"]


@pytest.mark.parametrize("fault", [swapped, one_element, before_the_function])
def test_a_wrong_capture_fails(fault: Any) -> None:
    x, plain, output, acts, layers, inputs_of = captured("siamese")
    acts = {key: value.copy() for key, value in acts.items()}
    fault(acts)
    with pytest.raises(AssertionError, match=r"(tower|head)[.:\w@]*: \d+ of \d+ values differ"):
        assert_fidelity(x, plain, output, acts, layers, inputs_of)
