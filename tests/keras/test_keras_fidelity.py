"""Fidelity in Keras: ten architectures, with and without capture, and every layer against numpy."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
from fidelity_check import Array, assert_fidelity, noise
from keras_fidelity_models import IMAGE, MODELS, PICTURE, TOKENS, WIDTH, WORDS, w
from keras_fidelity_oracles import between, oracles, selected
from keras_models import BACKEND, L, array, numpy

import actlens


def inputs(name: str) -> list[Array]:
    random = np.random.default_rng(8)
    if name in {"encoder", "decoder"}:
        return [random.integers(0, WORDS, (2, TOKENS), "i4")]
    shapes = {"recurrent": (TOKENS, WIDTH), "siamese": (WIDTH,), "vit": PICTURE, "mixer": PICTURE}
    count = 2 if name == "siamese" else 1
    return [random.normal(size=(3, *shapes.get(name, IMAGE))).astype("f4") for _ in range(count)]


def build(name: str) -> Any:
    """Make a model whose every weight and statistic is random: what is left at 0 or 1 hides mistakes.

    The initializers of Keras are not run: JAX would compile each for each shape.
    """
    random = np.random.default_rng(7)
    add_weight = L.Layer.add_weight

    def with_random_values(layer: Any, *args: Any, **kwargs: Any) -> Any:
        def values(shape: Any, dtype: Any) -> Array:
            if kwargs["name"].startswith("moving"):
                return random.uniform(0.5, 1.5, shape).astype(dtype)
            scale, mean = (1 / np.sqrt(np.prod(shape[:-1])), 0) if len(shape) > 1 else (0.3, 0.5)
            return random.normal(mean, scale, shape).astype(dtype)

        return add_weight(layer, *args, **kwargs | {"initializer": values})

    with mock.patch.object(L.Layer, "add_weight", with_random_values):
        model = MODELS[name]()
        if not model.built:
            model(*(keras.Input(x.shape[1:], dtype=x.dtype.name) for x in inputs(name)))
    return model


def on_device(name: str) -> list[Any]:
    return [array(value) for value in inputs(name)]


model_of = functools.cache(build)


@functools.cache  # each operation is compiled for each shape in JAX, which takes its time
def captured(name: str) -> tuple[Any, ...]:
    """Give the inputs, the output without capture and with it, the activations, and what they should be."""
    model = model_of(name)
    plain = model(*on_device(name), training=False)
    output, acts = actlens.capture(model, selected(model))(*on_device(name), training=False)
    return inputs(name), numpy(plain), numpy(output), arrays(acts), oracles(model), between(model)


def arrays(acts: Any) -> dict[str, Array]:
    return {key: numpy(value) for key, value in acts.items()}


QUICK = {"cnn", "decoder", "siamese"}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@pytest.mark.parametrize("name", EACH)
def test_every_layer_is_what_numpy_computes(name: str) -> None:
    assert_fidelity(*captured(name))


def program(function: Any) -> Any:
    """Compile; with PyTorch, Keras compiles nothing: there, it goes without autograd."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.inference_mode()(function)


@pytest.mark.parametrize("name", EACH)
def test_every_layer_in_a_compiled_program(name: str) -> None:
    model, x = model_of(name), on_device(name)
    forward = actlens.capture(model, selected(model))
    run = program(lambda *x: model(*x, training=False))
    plain = numpy(run(*x))
    assert noise(plain, numpy(run(*x))) == 0  # the framework's own, from run to run
    output, acts = program(lambda *x: forward(*x, training=False))(*x)
    # two programs, which XLA may fuse in two ways; measured: 0 for all ten on each backend, on the CPU
    assert noise(plain, numpy(output)) <= 1e-6
    parts = oracles(model), between(model)
    assert_fidelity(inputs(name), plain, numpy(output), arrays(acts), *parts, exact=False)


def step(name: str, *, heard: bool) -> list[Array]:
    """Go forward and back in training mode; give the output, all variables, and the gradients."""
    keras.utils.set_random_seed(5)  # of dropout
    model, x = build(name), on_device(name)
    forward = actlens.capture(model, selected(model))

    def output() -> Any:
        return forward(*x, training=True)[0] if heard else model(*x, training=True)

    first = numpy(output())
    gradients = GRADIENTS[BACKEND](lambda: keras.ops.sum(output() ** 2), model.trainable_variables)
    return [first, *map(w, model.variables), *gradients]


def by_tape(loss: Any, variables: list[Any]) -> list[Array]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, [variable.value for variable in variables])
    return [numpy(tf.convert_to_tensor(gradient)) for gradient in found]


def by_grad(loss: Any, variables: list[Any]) -> list[Array]:
    import jax

    def of(values: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss()

    return [numpy(gradient) for gradient in jax.jit(jax.grad(of))([variable.value for variable in variables])]


def by_backward(loss: Any, variables: list[Any]) -> list[Array]:
    loss().backward()
    return [numpy(variable.value.grad) for variable in variables]


GRADIENTS = {"tensorflow": by_tape, "jax": by_grad, "torch": by_backward}


@pytest.mark.parametrize("name", ["cnn", "siamese"])
def test_training_is_the_same_with_capture(name: str) -> None:
    plain, heard = step(name, heard=False), step(name, heard=True)
    assert len(plain) > 5
    for a, b in zip(plain, heard, strict=True):
        assert a.any()
        assert a.tobytes() == b.tobytes(), noise(a, b)


def test_calls_of_a_shared_layer() -> None:
    acts = captured("siamese")[3]
    assert {"tower", "tower:2", "tower.first:2", "tower.norm:2@input"} <= set(acts)


@pytest.mark.slow
def test_what_a_cell_hides() -> None:
    acts = captured("recurrent")[3]
    assert [key for key in acts if "@" not in key] == [
        *("lstm[0]", "lstm[1]", "lstm[2]"),
        *("both.forward_layer", "both.backward_layer", "both", "cells", "gru", "head"),
    ]


def swapped(acts: dict[str, Array]) -> None:
    acts["tower"], acts["tower:2"] = acts["tower:2"], acts["tower"]


def one_element(acts: dict[str, Array]) -> None:
    values = acts["tower.first"].reshape(-1)
    values[np.argsort(np.abs(values))[len(values) // 2]] *= 1.001


def before_the_function(acts: dict[str, Array]) -> None:
    acts["tower.second@input"] = acts["tower.first"]


@pytest.mark.parametrize("fault", [swapped, one_element, before_the_function])
def test_a_wrong_capture_fails(fault: Any) -> None:
    x, plain, output, acts, layers, inputs_of = captured("siamese")
    acts = {key: value.copy() for key, value in acts.items()}
    fault(acts)
    with pytest.raises(AssertionError, match=r"tower[.:\w@]*: \d+ of \d+ values differ"):
        assert_fidelity(x, plain, output, acts, layers, inputs_of)
