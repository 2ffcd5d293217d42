"""What is put on layers is taken away again: after errors, in several threads, in forwards inside others."""

import threading

import keras
import numpy as np
import pytest
from keras_models import L, array, called, dense, functional, images, numpy, state

import actlens
from actlens.errors import CaptureError, LayerNeverFired
from actlens_tf._patches import around_calls


def untouched(*models):
    return all(
        "call" not in vars(layer) and "quantized_call" not in vars(layer)
        for model in models
        for layer in model._flatten_layers()
    )


class Meets(L.Layer):
    """Waits in its call until the other thread is as far."""

    def __init__(self):
        super().__init__()
        self.barrier = None

    def call(self, x):
        if self.barrier is not None:
            self.barrier.wait(timeout=20)
        return x


def test_two_models_that_share_a_layer_in_two_threads():
    shared = dense("shared", np.eye(4, dtype=np.float32))
    models = [keras.Sequential([keras.Input((4,)), shared, Meets()]) for _ in range(2)]
    barrier = threading.Barrier(2)
    xs = [images(2, 4), images(3, 4) + 1]
    forwards = [actlens.capture(model, "shared") for model in models]
    for model in models:
        model.layers[-1].barrier = barrier
    got = {}

    def run(n):
        for _ in range(5):
            _, acts = forwards[n](xs[n])
            got.setdefault(n, []).append({key: numpy(value) for key, value in acts.items()})

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert untouched(*models)
    for n in range(2):
        assert len(got[n]) == 5
        for acts in got[n]:
            assert list(acts) == ["shared"]
            np.testing.assert_array_equal(acts["shared"], xs[n])


def test_the_model_may_be_called_by_another_thread_meanwhile():
    model = functional()
    forward = actlens.capture(model, "**")
    x, other = array(images(2, 4)), array(images(7, 4))
    plain = numpy(model(other))
    done, wrong = threading.Event(), []

    def call():
        while not done.is_set():
            if not np.array_equal(numpy(model(other)), plain):
                wrong.append("output")

    thread = threading.Thread(target=call)
    thread.start()
    try:
        for _ in range(10):
            _, acts = forward(x)
            assert len(acts) == 6
            assert all(value.shape[0] == 2 for value in acts.values())
    finally:
        done.set()
        thread.join()
    assert not wrong
    assert untouched(model)


class Fails(L.Layer):
    def __init__(self):
        super().__init__()
        self.error = None

    def call(self, x):
        if self.error is not None:
            raise self.error
        return x


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("stop", [False, True])
def test_an_error_of_any_kind_comes_out_and_leaves_nothing(error, stop):
    fails = Fails()
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), fails])
    before = state(model)
    forward = actlens.capture(model, "**", stop=stop)
    x = images(2, 4)
    fails.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            forward(x)
        assert untouched(model)
    fails.error = None
    _, acts = forward(x)
    assert list(acts) == ["a", fails.name]
    assert state(model) == before


def test_an_error_of_a_transform_leaves_nothing():
    model = functional()

    def broken(array):
        raise ValueError("my transform")

    forward = actlens.capture(model, {"head": broken})
    with pytest.raises(Exception, match="my transform"):
        forward(images(2, 4))
    assert untouched(model)


def test_a_forward_inside_of_another():
    inner_model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="low")])

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner_model
            self.head = L.Dense(2)
            self.seen = []

        def call(self, x):
            output, acts = actlens.capture(self.inner, "low")(x)
            self.seen.append(acts["low"])
            return self.head(output)

    model = called(Outer(), 2, 4)
    model.seen.clear()
    x = images(3, 4)
    _, acts = actlens.capture(model, ["**"])(x)
    assert list(acts) == ["inner.low", "inner", "head"]
    np.testing.assert_array_equal(numpy(acts["inner.low"]), numpy(model.seen[-1]))
    assert untouched(model)


class Sets(L.Layer):
    """Puts a function of its own around the call of another layer."""

    def __init__(self, other):
        super().__init__()
        self.on = False
        object.__setattr__(self, "other", other)

    def call(self, x):
        if self.on:
            heard = self.other.call
            object.__setattr__(self.other, "call", lambda x: heard(x) * 2)
        return x


def test_what_somebody_puts_on_a_layer_during_a_forward_stays():
    layer = Fails()
    sets = Sets(layer)
    model = keras.Sequential([keras.Input((4,)), layer, sets])
    sets.on = True
    x = images(2, 4)
    actlens.capture(model, layer.name)(x)
    sets.on = False
    np.testing.assert_array_equal(numpy(model(x)), x * 2)
    assert list(actlens.capture(model, layer.name)(x)[1]) == [layer.name]
    object.__delattr__(layer, "call")
    assert untouched(model)


def test_functions_around_calls_stand_in_order():
    layer = L.Identity()
    order = []

    def around(name):
        def function(call, args, kwargs):
            order.append(name)
            return call(*args, **kwargs)

        return function

    x = array(images(2, 4))
    with around_calls([(layer, around("outer")), (layer, around("inner"))]):
        layer(x)
        assert order == ["outer", "inner"]
        with around_calls([(layer, around("later"))]):
            layer(x)
        assert order[2:] == ["later", "outer", "inner"]
        layer(x)
        assert order[5:] == ["outer", "inner"]
    layer(x)
    assert len(order) == 7
    assert untouched(layer)


def test_blocks_may_end_in_any_order():
    layer = L.Identity()
    heard = []
    blocks = [
        around_calls([(layer, lambda call, args, kwargs, n=n: (heard.append(n), call(*args, **kwargs))[1])])
        for n in range(2)
    ]
    for block in blocks:
        block.__enter__()
    blocks[0].__exit__(None, None, None)
    layer(array(images(2, 4)))
    assert heard == [1]
    blocks[1].__exit__(None, None, None)
    assert untouched(layer)


def test_a_report_before_a_call():
    forward = actlens.capture(functional(), "head")
    with pytest.raises(CaptureError):
        _ = forward.report


def test_a_layer_that_is_not_called_this_time():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.Dense(4), L.Dense(4)

        def build(self, shape):
            self.a.build(shape)
            self.b.build(shape)

        def call(self, x, both=False):
            return self.b(self.a(x)) if both else self.a(x)

    model = called(Net(), 2, 4)
    forward = actlens.capture(model, "*")
    assert list(forward(images(2, 4), both=True)[1]) == ["a", "b"]
    with pytest.raises(LayerNeverFired, match="b"):
        forward(images(2, 4))
    assert untouched(model)
    assert actlens.layers(model, images(2, 4))["b"].note.startswith("never called")
    assert actlens.layers(model, images(2, 4), both=True)["b"].shape == (2, 4)
