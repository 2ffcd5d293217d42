"""Fidelity in Flax Linen: ten architectures, with and without capture, and every layer against numpy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fidelity_check import EVERYTHING, Array, as_arrays, assert_fidelity, noise
from fidelity_linen_models import MODELS, TOKENS, WIDTH, WORDS
from fidelity_linen_oracles import between, oracles
from flax import linen as nn

import actlens

pytestmark = pytest.mark.slow  # nearly all of it is compilation


def build(name: str, x: list[Array]) -> tuple[nn.Module, dict[str, Any]]:
    """Make a model whose every weight and statistic is random: what is left at 0 or 1 hides mistakes.

    The initializers of flax are not run: each would be compiled for each shape.
    """
    random = np.random.default_rng(7)

    def value(of: jax.ShapeDtypeStruct) -> jax.Array:
        scale, mean = (1 / np.sqrt(np.prod(of.shape[:-1])), 0) if len(of.shape) > 1 else (0.3, 0.5)
        return jnp.asarray(random.normal(mean, scale, of.shape), of.dtype)

    model = MODELS[name]()
    shapes = jax.eval_shape(model.init, jax.random.key(0), *x)
    variables = jax.tree.map(value, shapes)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda x: abs(x) + 0.1, variables["batch_stats"])
    return model, variables


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
    x = inputs(name)
    model, variables = build(name, x)
    on_device = [jnp.asarray(value) for value in x]
    plain = model.apply(variables, *on_device)
    output, acts = actlens.capture(model.bind(variables), EVERYTHING)(*on_device)
    return x, plain, output, as_arrays(acts), oracles(model, variables), between(model)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_what_numpy_computes(name: str) -> None:
    assert_fidelity(*captured(name))


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_in_a_compiled_program(name: str) -> None:
    x = inputs(name)
    model, variables = build(name, x)
    plain = jax.jit(model.apply)(variables, *x)
    output, acts = jax.jit(actlens.capture(model, EVERYTHING))(variables, *x)
    # two programs, which XLA may fuse in two ways; measured: 0 for all ten (jax 0.10, on the CPU)
    assert noise(plain, output) <= 1e-6
    assert_fidelity(x, plain, output, acts, oracles(model, variables), between(model), exact=False)


def test_calls_of_a_shared_layer_and_steps_of_a_cell() -> None:
    acts = captured("siamese")[3]
    assert {"tower", "tower:2", "tower.layers_0:2", "tower.layers_3:2@input"} <= set(acts)
    acts = captured("recurrent")[3]
    steps = ["", *(f":{at}" for at in range(2, TOKENS + 1))]
    assert [key for key in acts if key.startswith("gru.cell.hn") and "@" not in key] == [
        f"gru.cell.hn{step}" for step in steps
    ]
    assert np.array_equal(np.stack([acts[f"lstm.cell{step}[1]"] for step in steps], axis=1), acts["lstm[1]"])


def step(apply: Any, variables: dict[str, Any], x: list[Array]) -> list[Array]:
    """Go forward and back; give the output and the gradients."""

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        output = apply({**variables, "params": params}, *x)
        return (output**2).sum(), output

    (_, output), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return [np.asarray(value) for value in (output, *jax.tree.leaves(grads))]


@pytest.mark.parametrize("name", ["mlp", "siamese"])
def test_gradients_are_the_same_with_capture(name: str) -> None:
    x = inputs(name)
    model, variables = build(name, x)
    forward = actlens.capture(model, EVERYTHING)
    plain = step(model.apply, variables, x)
    heard = step(lambda variables, *x: forward(variables, *x)[0], variables, x)
    assert len(plain) > 5
    for a, b in zip(plain, heard, strict=True):
        assert a.any()
        assert noise(a, b) <= 1e-5  # measured: 0


def swapped(acts: dict[str, Array]) -> None:
    acts["tower"], acts["tower:2"] = acts["tower:2"], acts["tower"]


def one_element(acts: dict[str, Array]) -> None:
    values = acts["tower.layers_0"].reshape(-1)
    values[np.argsort(np.abs(values))[len(values) // 2]] *= 1.001


def before_the_function(acts: dict[str, Array]) -> None:
    acts["tower.layers_2@input"] = acts["tower.layers_0"]


@pytest.mark.parametrize("fault", [swapped, one_element, before_the_function])
def test_a_wrong_capture_fails(fault: Any) -> None:
    x, plain, output, acts, layers, inputs_of = captured("siamese")
    acts = {key: value.copy() for key, value in acts.items()}
    fault(acts)
    with pytest.raises(AssertionError, match=r"(tower|head)[.:\w@]*: \d+ of \d+ values differ"):
        assert_fidelity(x, plain, output, acts, layers, inputs_of)


def test_steps_of_a_cell_out_of_order_fail() -> None:
    x, plain, output, acts, layers, inputs_of = captured("recurrent")
    keys = [key for key in acts if key.startswith("lstm.cell") and ":2" in key]
    assert len(keys) > 10
    acts = acts | {key: acts[key.replace(":2", ":3")] for key in keys}  # a whole step, that fits itself
    with pytest.raises(AssertionError, match=r"lstm\.cell[.\w]*:[23]@input.*(differ|nowhere)"):
        assert_fidelity(x, plain, output, acts, layers, inputs_of)
