"""NNX models of every kind: nothing is skipped without a word, and every value is right."""

from __future__ import annotations

import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import actlens
from actlens.errors import LayerNeverFired, NoLayerMatches, UncapturableValue, UnsupportedModel

WIDTH, LAYERS = 4, 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, WIDTH)), jnp.float32)


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def linear(layer: Any, x: jax.Array, *at: int) -> jax.Array:
    return x @ layer.kernel[...][at] + layer.bias[...][at]


class Inherits(nnx.Linear):
    """Has no `__call__` of its own."""


class Calls(nnx.Linear):
    """Has one, and calls its parent's."""

    def __call__(self, x: jax.Array, out_sharding: Any = None) -> jax.Array:
        return super().__call__(x) * 2


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.fc = Inherits(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.fc(x)) + x


class Small(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.features = Block(rngs)
        self.calls = Calls(WIDTH, WIDTH, rngs=rngs)
        self.plain = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.again = self.blocks[0]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.plain(self.calls(self.features(x)))
        for block in self.blocks:
            x = block(x)
        return x


def test_inherited_and_overridden_calls_are_heard_once() -> None:
    model = Small()
    forward = actlens.capture(model, ["features.fc", "calls", "plain"])
    output, acts = forward(X)
    assert np.asarray(output).tobytes() == np.asarray(model(X)).tobytes()
    assert forward.report.calls == {"features.fc": 1, "calls": 1, "plain": 1}
    close(acts["features.fc"], linear(model.features.fc, X))
    block = nnx.relu(linear(model.features.fc, X)) + X
    close(acts["calls"], linear(model.calls, block) * 2)


class Between(nnx.Module):
    """One layer that is called before and after another."""

    def __init__(self) -> None:
        self.dense = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))
        self.other = Block(nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.other(self.dense(x)))


def test_keys_come_in_the_order_of_the_calls() -> None:
    model = Between()
    for forward in (actlens.capture(model, "*"), jax.jit(actlens.capture(model, "*").__call__)):
        assert list(forward(X)[1]) == ["dense", "other", "dense:2"]


def test_names_are_attribute_paths_in_order_with_aliases() -> None:
    table = actlens.layers(Small())
    assert list(table) == [
        *("features", "features.fc", "calls", "plain", "blocks.0", "blocks.0.fc", "blocks.1", "blocks.1.fc"),
    ]
    assert table["blocks.0"].aliases == ("again",)
    assert table["features.fc"].type == "Inherits"
    with pytest.raises(NoLayerMatches, match="It is the same layer as 'blocks.0'"):
        actlens.capture(Small(), "again")
    with pytest.raises(NoLayerMatches, match=r"no layer of Small matches 'conv\*'. Its layers: features"):
        actlens.capture(Small(), "conv*")


def test_a_name_of_the_models_own_sow_changes_nothing() -> None:
    class Sows(nnx.Module):
        def __init__(self) -> None:
            self.features = Block(nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            self.sow(nnx.Intermediate, "features", x)
            self.sow(nnx.Intermediate, "fc", x)
            return self.features(x)

    model = Sows()
    (output, acts), own = nnx.capture(lambda m, x: actlens.capture(m, "**")(x), nnx.Intermediate)(model, X)
    assert list(acts) == ["features.fc", "features"]
    close(acts["features"], output)
    assert set(own) == {"features", "fc"}  # what the model sows arrives at whoever asked for it


class Stacked(nnx.Module):
    def __init__(self) -> None:
        @nnx.split_rngs(splits=LAYERS)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs: nnx.Rngs) -> Block:
            return Block(rngs)

        self.layers = make(nnx.Rngs(0))
        self.head = nnx.Linear(WIDTH, 2, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def through(layer: Block, x: jax.Array) -> jax.Array:
            return layer(x)

        return self.head(through(self.layers, x))


def by_hand(model: Stacked, x: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    result = []
    for at in range(LAYERS):
        fc = linear(model.layers.fc, x, at)
        x = nnx.relu(fc) + x
        result.append((fc, x))
    return result


def jitted(model: Any, layers: Any) -> Any:
    """Call forward under nnx.jit, with the model as an argument."""
    forward = actlens.capture(model, layers)
    return lambda x: nnx.jit(lambda m, x: forward(m, x))(model, x)


@pytest.mark.parametrize("how", [actlens.capture, jitted])
def test_layers_of_a_scan_are_split(how: Any) -> None:
    model = Stacked()
    plain = model(X)
    output, acts = how(model, ["layers.**", "head@input"])(X)
    close(output, plain)
    assert list(acts) == [
        *(key for at in range(LAYERS) for key in (f"layers.{at}.fc", f"layers.{at}")),
        "head@input",
    ]
    for at, (fc, block) in enumerate(by_hand(model, X)):
        close(acts[f"layers.{at}.fc"], fc)
        close(acts[f"layers.{at}"], block)
    close(acts["head@input"], acts[f"layers.{LAYERS - 1}"])


def test_one_layer_of_a_scan() -> None:
    model = Stacked()
    _, acts = actlens.capture(model, {"layers.1.fc": "b u -> b"})(X)
    assert list(acts) == ["layers.1.fc"]
    close(acts["layers.1.fc"], by_hand(model, X)[1][0].mean(axis=1))


def test_steps_that_share_their_parameters_are_calls() -> None:
    class Recurrent(nnx.Module):
        def __init__(self) -> None:
            self.cell = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            @nnx.scan(
                in_axes=(nnx.StateAxes({nnx.Intermediate: 0, ...: None}), nnx.Carry),
                out_axes=nnx.Carry,
                length=3,
            )
            def steps(cell: nnx.Linear, x: jax.Array) -> jax.Array:
                return jnp.tanh(cell(x))

            return steps(self.cell, x)

    model = Recurrent()
    output, acts = actlens.capture(model, "cell")(X)
    assert list(acts) == ["cell", "cell:2", "cell:3"]
    x = X
    for key in acts:
        close(acts[key], linear(model.cell, x))
        x = jnp.tanh(acts[key])
    close(output, x)


def test_a_scan_without_an_axis_for_it_is_an_error_with_the_cure() -> None:
    class Recurrent(nnx.Module):
        def __init__(self) -> None:
            self.cell = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))
            self.head = nnx.Linear(WIDTH, 2, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            @nnx.scan(in_axes=(None, nnx.Carry), out_axes=nnx.Carry, length=3)
            def steps(cell: nnx.Linear, x: jax.Array) -> jax.Array:
                return jnp.tanh(cell(x))

            return self.head(steps(self.cell, x))

    model = Recurrent()
    with pytest.raises(LayerNeverFired, match=r"cell \(it runs in a transf.*nnx.Intermediate: 0"):
        actlens.capture(model, "cell")(X)
    output, _ = actlens.capture(model, "head")(X)
    close(output, model(X))


def test_remat_vmap_and_jit_inside_a_model() -> None:
    class Inside(nnx.Module):
        def __init__(self) -> None:
            self.a = Block(nnx.Rngs(0))
            self.b = Jitted(nnx.Rngs(1))
            self.c = nnx.Linear(WIDTH, 3, rngs=nnx.Rngs(2))

        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.remat(lambda m, x: m(x))(self.a, x)
            x = self.b(x)
            axes = nnx.StateAxes({nnx.Intermediate: 0, ...: None})
            return nnx.vmap(lambda m, x: m(x), in_axes=(axes, 0))(self.c, x)

    model = Inside()
    plain = model(X)  # compiles b
    for _ in range(2):
        output, acts = actlens.capture(model, "**")(X)
        close(output, plain)
        assert list(acts) == ["a.fc", "a", "b.fc", "b", "c"]
        close(acts["a.fc"], linear(model.a.fc, X))
        close(acts["b.fc"], linear(model.b.fc, acts["a"]))
        close(acts["c"], plain)
    assert list(actlens.capture(model, "b")(X)[1]) == ["b"]
    assert list(actlens.capture(model, "b.fc")(X)[1]) == ["b.fc"]


class Jitted(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.fc = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    @nnx.jit
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.fc(x))


def test_a_copy_that_the_model_makes_of_itself_is_an_error_with_the_cure() -> None:
    class Raw(nnx.Module):
        def __init__(self) -> None:
            self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))
            self.head = nnx.Linear(WIDTH, 2, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            graph, state = nnx.split(self.fc)
            x = jax.lax.scan(lambda x, _: (nnx.merge(graph, state)(x), None), x, length=2)[0]
            return self.head(x)

    model = Raw()
    with pytest.raises(LayerNeverFired, match=r"fc \(it runs in a transformation .*use nnx.scan"):
        actlens.capture(model, "fc")(X)
    close(actlens.capture(model, "head")(X)[0], model(X))


def test_a_cached_jax_jit_around_the_model_is_never_empty() -> None:
    model = Small()
    cached = jax.jit(lambda x: model(x))
    cached(X)
    _, acts = actlens.capture(model, "plain")(X)
    assert list(acts) == ["plain"]
    around = jax.jit(lambda x: actlens.capture(model, "plain")(x))
    for _ in range(2):
        output, acts = around(X)
        assert list(acts) == ["plain"]
        close(output, model(X))


def test_gradients_with_the_model_as_argument() -> None:
    model = Stacked()
    forward = actlens.capture(model, "layers.0.fc")

    def loss(model: Stacked, x: jax.Array) -> tuple[jax.Array, Any]:
        output, acts = forward(model, x)
        return (output**2).sum(), acts

    (value, acts), grads = nnx.value_and_grad(loss, has_aux=True)(model, X)
    expected = nnx.grad(lambda m, x: (m(x) ** 2).sum())(model, X)
    jax.tree.map(close, jax.tree.leaves(grads), jax.tree.leaves(expected))
    close(acts["layers.0.fc"], by_hand(model, X)[0][0])
    graph, state = nnx.split(model)
    step = jax.jit(jax.value_and_grad(lambda s, x: loss(nnx.merge(graph, s), x), has_aux=True))
    (again, acts), _ = step(state, X)
    close(again, value)
    assert acts.axes == {"layers.0.fc": ("sample", "unit")}


def test_training_state_moves_on_as_in_a_plain_call() -> None:
    class Norm(nnx.Module):
        def __init__(self) -> None:
            self.norm = nnx.BatchNorm(WIDTH, rngs=nnx.Rngs(0))
            self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.drop(self.norm(x))

    plain, captured = Norm(), Norm()
    output, acts = actlens.capture(captured, "*")(X)
    assert np.asarray(output).tobytes() == np.asarray(plain(X)).tobytes()
    close(captured.norm.mean[...], plain.norm.mean[...])
    close(output, acts["drop"])
    close(actlens.capture(captured, "*")(X)[0], plain(X))  # the random numbers have moved on alike
    with pytest.raises(Exception, match="different trace level"):  # flax's own refusal, as without capture
        jax.jit(lambda x: actlens.capture(captured, "*")(x))(X)


def test_after_an_error_nothing_is_left() -> None:
    class Boom(nnx.Module):
        def __init__(self) -> None:
            self.fc = Inherits(WIDTH, WIDTH, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            self.fc(x)
            raise RuntimeError("boom")

    model, call = Boom(), nnx.Linear.__call__
    before = sorted(vars(model.fc)), repr(nnx.graphdef(model))
    with pytest.raises(RuntimeError, match="boom"):
        actlens.capture(model, "*")(X)
    assert (sorted(vars(model.fc)), repr(nnx.graphdef(model))) == before
    assert "__call__" not in vars(Inherits)
    assert nnx.Linear.__call__ is call


def test_threads_do_not_hear_one_another() -> None:
    models = [Small() for _ in range(4)]
    results: dict[int, list[Any]] = {at: [] for at in range(4)}

    def work(at: int) -> None:
        forward = actlens.capture(models[at], "plain" if at % 2 else "calls")
        for _ in range(5):
            results[at].append(list(forward(X * at)[1]))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {at: [["plain" if at % 2 else "calls"]] * 5 for at in range(4)}


def test_a_forward_inside_of_another() -> None:
    inner = Small()
    forward = actlens.capture(inner, "plain")

    class Outer(nnx.Module):
        def __init__(self) -> None:
            self.inner = inner

        def __call__(self, x: jax.Array) -> jax.Array:
            output, acts = forward(x)
            assert list(acts) == ["plain"]
            return output + acts["plain"]

    model = Outer()
    output, acts = actlens.capture(model, ["inner.plain", "inner.calls"])(X)
    assert list(acts) == ["inner.calls", "inner.plain"]
    close(output, inner(X) + acts["inner.plain"])


def test_layers_of_a_model_with_a_recurrent_one() -> None:
    """What cannot be captured does not keep the rest from being listed."""

    class Recurrent(nnx.Module):
        def __init__(self) -> None:
            self.rnn = nnx.RNN(nnx.LSTMCell(WIDTH, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
            self.head = nnx.Linear(3, 2, rngs=nnx.Rngs(2))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.head(self.rnn(x))

    model, x = Recurrent(), jnp.ones((2, 5, WIDTH))
    table = actlens.layers(model, x)
    assert table["rnn"].axes == ("sample", "time", "unit")
    assert table["head"].shape == (2, 5, 2)
    assert table["rnn.cell"].note.startswith("never called: it is inside a transformation")
    assert list(actlens.capture(model, ["rnn", "head"])(x)[1]) == ["rnn", "head"]
    with pytest.raises(UncapturableValue, match="rnn.cell"):
        actlens.capture(model, "rnn.cell")(x)


def test_a_bridged_linen_module_is_one_layer() -> None:
    class Bridge(nnx.Module):
        def __init__(self) -> None:
            self.inner = nnx.bridge.ToNNX(nn.Dense(3), rngs=nnx.Rngs(0)).lazy_init(X)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.inner(x)

    model = Bridge()
    output, acts = actlens.capture(model, "*")(X)
    close(acts["inner"], output)
    close(output, model(X))


def test_a_branch_of_cond_is_an_error_with_the_cure() -> None:
    class Branch(nnx.Module):
        def __init__(self) -> None:
            self.a = nnx.Linear(WIDTH, 2, rngs=nnx.Rngs(0))
            self.b = nnx.Linear(WIDTH, 2, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return nnx.cond(x.sum() > 0, lambda m, x: m.a(x), lambda m, x: m.b(x), self, x)

    with pytest.raises(UncapturableValue, match=r"layer '[ab]'.*cond"):
        actlens.capture(Branch(), ["a", "b"])(X)


def test_what_is_no_module_says_what_to_give() -> None:
    import optax
    from flax.training.train_state import TrainState

    state = TrainState.create(apply_fn=nn.Dense(2).apply, params={}, tx=optax.sgd(0.1))
    with pytest.raises(
        UnsupportedModel, match=r"holds the parameters.*module.bind\({'params': state.params}\)"
    ):
        actlens.capture(state, "*")
    with pytest.raises(UnsupportedModel, match="is an array, not a model"):
        actlens.capture(X, "*")
    with pytest.raises(UnsupportedModel, match=r"is neither a flax.linen.Module nor an nnx.Module"):
        actlens.capture(nnx.Param(X), "*")


AXES = nnx.StateAxes({nnx.Intermediate: 0, ...: None})


class TwoWays(nnx.Module):
    def __init__(self) -> None:
        self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array, way: str) -> jax.Array:
        if way == "scan":
            through = nnx.scan(lambda m, x: m(x), in_axes=(AXES, nnx.Carry), out_axes=nnx.Carry, length=3)
            return through(self.fc, x)
        call = nnx.remat(lambda m, x: m(x)) if way == "remat" else (lambda m, x: m(x))
        return nnx.vmap(call, in_axes=(AXES, 0))(self.fc, x)


def test_each_call_is_read_by_itself() -> None:
    model = TwoWays()
    forward = actlens.capture(model, "fc")
    for way in ("scan", "vmap", "remat", "scan"):
        output, acts = forward(X, way)
        if way == "scan":
            assert list(acts) == ["fc", "fc:2", "fc:3"]
            close(acts["fc:3"], output)
        else:
            assert list(acts) == ["fc"]
            close(acts["fc"], output)


def test_the_models_own_error_is_its_own() -> None:
    class Wrong(nnx.Module):
        def __init__(self) -> None:
            self.block = Block(nnx.Rngs(0))
            self.head = nnx.Linear(7, 2, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.head(nnx.remat(lambda m, x: m(x))(self.block, x))

    with pytest.raises(TypeError, match="dot_general"):
        actlens.capture(Wrong(), "block.fc")(X)


def test_a_plain_call_in_another_thread_is_not_heard() -> None:
    class Calls2(nnx.Module):
        def __init__(self) -> None:
            self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))
            self.wait = Waits()

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.wait(self.fc(x))

    class Waits(nnx.Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            begun.set()
            done.wait(2)
            return x

    begun, done = threading.Event(), threading.Event()
    model = Calls2()

    def other() -> None:
        begun.wait(5)
        model.fc(X * 100)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    _, acts = actlens.capture(model, "fc")(X)
    thread.join()
    assert list(acts) == ["fc"]
    close(acts["fc"], linear(model.fc, X))


def test_a_layer_that_is_replaced_during_the_call_is_an_error() -> None:
    class Replaces(nnx.Module):
        def __init__(self) -> None:
            self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            x = self.fc(x)
            self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(1))
            return self.fc(x)

    with pytest.raises(LayerNeverFired, match=r"fc \(the new one\) \(it was put there during the call"):
        actlens.capture(Replaces(), "fc")(X)


def test_layers_whose_weights_are_variables_of_another_kind() -> None:
    class Weight(nnx.Variable[Any]):
        pass

    class Own(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.w = Weight(jax.random.normal(rngs.params(), (WIDTH, WIDTH)))

        def __call__(self, x: jax.Array) -> jax.Array:
            return x @ self.w[...]

    class Model(nnx.Module):
        def __init__(self) -> None:
            self.layers = nnx.split_rngs(splits=3)(nnx.vmap(Own, in_axes=(0,), out_axes=0))(nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return nnx.scan(lambda m, x: m(x), in_axes=(0, nnx.Carry), out_axes=nnx.Carry)(self.layers, x)

    assert list(actlens.capture(Model(), "layers.*")(X)[1]) == ["layers.0", "layers.1", "layers.2"]


def test_a_model_that_is_called_with_another_one_of_its_class() -> None:
    class Student(nnx.Module):
        def __init__(self, seed: int) -> None:
            self.fc = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(seed))

        def __call__(self, teacher: Any, x: jax.Array) -> jax.Array:
            return self.fc(x) - teacher.fc(x)

    student, teacher = Student(0), Student(1)
    forward = actlens.capture(student, "fc")
    output, acts = forward(teacher, X)
    close(output, student(teacher, X))
    close(acts["fc"], linear(student.fc, X))
    close(forward(student, teacher, X)[1]["fc"], linear(student.fc, X))
