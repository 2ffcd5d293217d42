"""Linen in the transformations of jax and flax: nothing is dropped in silence, every value is right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import actlens
from actlens.errors import CaptureError, LayerNeverFired, NoLayerMatches, UncapturableValue

LAYERS, SAMPLES, WIDTH = 3, 2, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(SAMPLES, WIDTH)), jnp.float32)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: Any = None) -> tuple[jax.Array, None]:
        return nn.relu(nn.Dense(WIDTH, name="fc")(x)) + x, None


class Scanned(nn.Module):
    carried: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes: dict[Any, Any] = {"params": 0} | ({"intermediates": 0} if self.carried else {})
        stack = nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=LAYERS)
        x = nn.Dense(WIDTH, name="first")(x)
        x, _ = stack(name="layers")(x, None)
        return nn.Dense(2, name="last")(x)


def bound(module: nn.Module, x: Any = X) -> Any:
    return module.bind(module.init(jax.random.key(0), x))


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def by_hand(model: Any, x: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Run the blocks of Scanned one after another: [(fc, block)] for each."""
    params = model.variables["params"]
    x = nn.Dense(WIDTH).apply({"params": params["first"]}, x)
    result = []
    for at in range(LAYERS):
        own = jax.tree.map(lambda leaf, at=at: leaf[at], params["layers"])
        fc = x @ own["fc"]["kernel"] + own["fc"]["bias"]
        x = nn.relu(fc) + x
        result.append((fc, x))
    return result


@pytest.mark.parametrize("jit", [False, True])
def test_layers_of_a_scan_are_split(jit: bool) -> None:
    model = bound(Scanned())
    forward = actlens.capture(model, "layers.**")
    output, acts = jax.jit(forward)(X) if jit else forward(X)
    close(output, model(X))
    assert list(acts) == [key for at in range(LAYERS) for key in (f"layers.{at}.fc", f"layers.{at}[0]")]
    for at, (fc, block) in enumerate(by_hand(model, X)):
        close(acts[f"layers.{at}.fc"], fc)
        close(acts[f"layers.{at}[0]"], block)
    assert acts.axes["layers.1.fc"] == ("sample", "unit")


def test_one_layer_of_a_scan_and_its_input() -> None:
    model = bound(Scanned())
    _, acts = actlens.capture(model, ["layers.1.fc", "layers.2.fc@input"])(X)
    assert list(acts) == ["layers.1.fc", "layers.2.fc@input"]
    hand = by_hand(model, X)
    close(acts["layers.1.fc"], hand[1][0])
    close(acts["layers.2.fc@input"], hand[1][1])


def test_a_transform_sees_one_layer_of_a_scan() -> None:
    model = bound(Scanned())
    _, acts = actlens.capture(model, {"layers.*.fc": "b u -> b"})(X)
    for at, (fc, _) in enumerate(by_hand(model, X)):
        close(acts[f"layers.{at}.fc"], fc.mean(axis=1))


@pytest.mark.parametrize("pattern", ["layers.*.fc", "layers.0.fc", "**"])
def test_what_a_scan_drops_is_an_error_with_the_cure(pattern: str) -> None:
    forward = actlens.capture(bound(Scanned(carried=False)), pattern)
    with pytest.raises(LayerNeverFired, match=r"layers.fc \(it runs inside a tr.*'intermediates': 0"):
        forward(X)


def test_what_a_scan_drops_does_not_matter_where_it_is_not_asked_for() -> None:
    model = bound(Scanned(carried=False))
    output, acts = actlens.capture(model, ["first", "last"])(X)
    assert list(acts) == ["first", "last"]
    assert np.asarray(output).tobytes() == np.asarray(model(X)).tobytes()


class Nested(nn.Module):
    """A scan of blocks, each with a scan inside."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes: dict[Any, Any] = {"params": 0, "intermediates": 0}

        class Outer(nn.Module):
            @nn.compact
            def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
                inner = nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=2)
                return inner(name="inner")(x, None)[0], None

        outer = nn.scan(Outer, variable_axes=axes, split_rngs={"params": True}, length=3)
        return outer(name="outer")(x, None)[0]


def test_a_scan_in_a_scan_has_two_indices() -> None:
    model = bound(Nested())
    _, acts = actlens.capture(model, "outer.*.inner.*.fc")(X)
    assert list(acts) == [f"outer.{i}.inner.{j}.fc" for i in range(3) for j in range(2)]
    x = X
    for i in range(3):
        for j in range(2):
            own = jax.tree.map(
                lambda leaf, i=i, j=j: leaf[i, j], model.variables["params"]["outer"]["inner"]["fc"]
            )
            fc = x @ own["kernel"] + own["bias"]
            close(acts[f"outer.{i}.inner.{j}.fc"], fc)
            x = nn.relu(fc) + x


class Recurrent(nn.Module):
    carried: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        extra: dict[str, Any] = {"variable_axes": {"intermediates": 0}} if self.carried else {}
        return nn.RNN(nn.SimpleCell(3, name="cell"), name="rnn", **extra)(x)


def test_steps_of_a_cell_are_calls() -> None:
    """The parameters are the same in every step: one layer, called several times."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(SAMPLES, 5, WIDTH)), jnp.float32)
    model = bound(Recurrent(), x)
    forward = actlens.capture(model, ["rnn", "cell", "cell.i"])
    output, acts = forward(x)
    assert forward.report.calls == {"cell.i": 5, "cell": 5, "rnn": 1}
    assert list(acts)[:3] == ["cell.i", "cell[0]", "cell[1]"]
    for step in range(5):
        key = "cell" if step == 0 else f"cell:{step + 1}"
        close(acts[f"{key}[1]"], output[:, step])
    kernel = model.variables["params"]["cell"]["i"]
    close(acts["cell.i:3"], x[:, 2] @ kernel["kernel"] + kernel["bias"])
    assert acts.axes["rnn"] == ("sample", "time", "unit")


def test_a_cell_that_the_rnn_drops_is_an_error() -> None:
    x = jnp.ones((SAMPLES, 5, WIDTH))
    with pytest.raises(LayerNeverFired, match=r"cell.*nn.RNN\(…, variable_axes={'intermediates': 0}\)"):
        actlens.capture(bound(Recurrent(carried=False), x), "cell")(x)
    _, acts = actlens.capture(bound(Recurrent(carried=False), x), "rnn")(x)
    assert acts["rnn"].shape == (SAMPLES, 5, 3)


class Members(nn.Module):
    """An ensemble: each member has its own parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes: dict[Any, Any] = {"params": 0, "intermediates": 0}
        many = nn.vmap(nn.Dense, variable_axes=axes, split_rngs={"params": True}, in_axes=None, axis_size=4)
        return many(3, name="member")(x)


def test_members_of_a_vmap_are_split() -> None:
    model = bound(Members())
    output, acts = actlens.capture(model, "member.*")(X)
    assert list(acts) == ["member.0", "member.1", "member.2", "member.3"]
    for at in range(4):
        close(acts[f"member.{at}"], output[at])


class PerSample(nn.Module):
    """One layer, mapped over the samples: what the vmap added is the batch."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes: dict[Any, Any] = {"params": None, "intermediates": 0}
        mapped = nn.vmap(nn.Dense, variable_axes=axes, split_rngs={"params": False})
        return mapped(3, name="dense")(x)


def test_a_layer_mapped_over_samples_keeps_the_batch() -> None:
    model = bound(PerSample())
    output, acts = actlens.capture(model, "dense")(X)
    assert list(acts) == ["dense"]
    close(acts["dense"], output)


class Wrapped(nn.Module):
    """remat and jit around blocks; a child that is called inside and outside of them."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x, _ = nn.remat(Block)(name="remat")(x)
        x, _ = JITTED(name="jitted")(x)
        return x


JITTED = nn.jit(Block)  # one class, so that its compiled form is found again


def test_remat_and_jit_inside_a_model() -> None:
    model = bound(Wrapped())
    plain = model(X)
    for _ in range(2):  # the second time the compiled form is found
        output, acts = actlens.capture(model, ["remat.fc", "jitted.fc", "jitted"])(X)
        assert np.asarray(output).tobytes() == np.asarray(plain).tobytes()
        assert list(acts) == ["remat.fc", "jitted.fc", "jitted[0]"]
    first = actlens.capture(model, "jitted.fc")
    second = actlens.capture(model, "jitted")
    for forward, key in ((first, "jitted.fc"), (second, "jitted[0]"), (first, "jitted.fc")):
        assert list(forward(X)[1]) == [key]
    close(second(X)[1]["jitted[0]"], plain)


def test_gradients_through_a_capture() -> None:
    module = Scanned()
    variables = module.init(jax.random.key(0), X)
    forward = actlens.capture(module, "layers.*.fc")

    def loss(variables: Any) -> tuple[jax.Array, Any]:
        output, acts = forward(variables, X)
        return (output**2).sum(), acts

    def plain(variables: Any) -> jax.Array:
        return (module.apply(variables, X) ** 2).sum()

    (value, acts), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    close(value, plain(variables))
    jax.tree.map(close, grads, jax.grad(plain)(variables))
    assert list(acts) == [f"layers.{at}.fc" for at in range(LAYERS)]
    assert acts.axes["layers.0.fc"] == ("sample", "unit")
    assert acts.report is not None


def test_gradients_of_a_captured_layer() -> None:
    module = Scanned()
    variables = module.init(jax.random.key(0), X)
    forward = actlens.capture(module, "layers.0.fc")
    grads = jax.grad(lambda v: forward(v, X)[1]["layers.0.fc"].sum())(variables)["params"]
    assert float(jnp.abs(grads["first"]["kernel"]).sum()) > 0
    assert float(jnp.abs(grads["last"]["kernel"]).sum()) == 0


class Branches(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first = nn.Dense(WIDTH, name="first")(x)
        a, b = nn.Dense(3, name="a"), nn.Dense(3, name="b")
        if self.is_initializing():
            a(first), b(first)
        return nn.cond(x.sum() > 0, lambda m, x: a(x), lambda m, x: b(x), self, first)


def test_a_branch_of_cond_is_an_error_with_the_cure() -> None:
    module = Branches()
    model = bound(module)
    for forward in (actlens.capture(model, ["a", "b"]), jax.jit(actlens.capture(model, ["a", "b"]))):
        with pytest.raises(UncapturableValue, match=r"layer '[ab]' gave a value inside.*cond.*jnp.where"):
            forward(X)
    output, acts = actlens.capture(model, "first")(X)
    assert list(acts) == ["first"]
    close(output, model(X))


def test_a_branch_that_makes_its_layers_itself_too() -> None:
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            def branch(name: str) -> Any:
                return lambda module, x: nn.Dense(3, name=name, parent=module)(x)

            if self.is_initializing():
                branch("a")(self, x), branch("b")(self, x)
            return nn.cond(x.sum() > 0, branch("a"), branch("b"), self, x)

    with pytest.raises(UncapturableValue, match=r"layer '[ab]' gave a value inside.*jnp.where"):
        actlens.capture(bound(Own()), ["a", "b"])(X)


def test_the_models_own_intermediates_stay_its_own() -> None:
    class Sows(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.Dense(WIDTH, name="dense")(x)
            self.sow("intermediates", "dense_out", x)
            self.sow("intermediates", "fc", x * 2)
            return x

    module = Sows()
    variables = {"params": module.init(jax.random.key(0), X)["params"]}
    forward = actlens.capture(module, "**")
    (output, state), acts = forward(variables, X, mutable=["intermediates"])
    expected, plain = module.apply(variables, X, mutable=["intermediates"])
    close(output, expected)
    assert jax.tree.structure(state) == jax.tree.structure(dict(plain))
    assert list(acts) == ["dense"]
    (_, again), _ = forward({**variables, **state}, X, mutable=["intermediates"])
    assert len(again["intermediates"]["fc"]) == 2  # flax's own way: it appends, and only what is its own
    assert forward(variables, X)[0].shape == output.shape  # nothing mutable: the output alone


def test_all_collections_mutable_give_what_apply_gives() -> None:
    from flax.core import DenyList

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=False, name="norm")(x)

    module = Norm()
    variables = module.init(jax.random.key(0), X)
    for mutable in (True, DenyList("params"), "batch_stats"):
        (output, state), acts = actlens.capture(module, "**")(variables, X, mutable=mutable)
        expected, plain = module.apply(variables, X, mutable=mutable)
        close(output, expected)
        assert list(acts) == ["norm"]
        assert jax.tree.structure(state) == jax.tree.structure(dict(plain))


class InAndOut(nn.Module):
    """One layer, called outside of a scan and inside of it."""

    carried: bool

    def setup(self) -> None:
        self.dense = nn.Dense(WIDTH)

    def __call__(self, x: jax.Array) -> jax.Array:
        axes = {"intermediates": 0} if self.carried else {}
        options: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        through = nn.scan(lambda m, x, _: (m.dense(x), None), variable_axes=axes, length=2, **options)
        return through(self, self.dense(x), None)[0]


def test_calls_in_and_out_of_a_scan_are_never_given_in_part() -> None:
    with pytest.raises(LayerNeverFired, match="dense in a transformation"):
        actlens.capture(bound(InAndOut(carried=False)), "dense")(X)
    # flax takes what was sown before the scan for values to scan over, and fails: so the error is ours
    with pytest.raises(UncapturableValue, match="layer 'dense' gave a value inside"):
        actlens.capture(bound(InAndOut(carried=True)), "dense")(X)


def test_the_models_own_error_is_its_own() -> None:
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.Dense(WIDTH, name="dense")(x)
            return nn.remat(Fails)(name="fails")(x)

    module = Own()
    variables = {"params": {"dense": {"kernel": jnp.ones((WIDTH, WIDTH)), "bias": jnp.ones(WIDTH)}}}
    with pytest.raises(ValueError, match="the model's own"):
        actlens.capture(module, "dense")(variables, X)


class Fails(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        raise ValueError("the model's own")


def test_names_that_look_like_ours() -> None:
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(3, name="a.b")(nn.Dense(3, name="@out")(x))

    model = bound(Odd())
    output, acts = actlens.capture(model, "**")(X)
    close(acts["a.b"], output)


def test_batch_statistics_are_those_of_the_plain_call() -> None:
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
            return nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(WIDTH, name="fc")(x))

    module = Norm()
    variables = module.init(jax.random.key(0), X)
    (output, state), acts = actlens.capture(module, "*")(variables, X, mutable=["batch_stats"])
    expected, plain = module.apply(variables, X, mutable=["batch_stats"])
    close(output, expected)
    assert set(state) == {"batch_stats"}
    jax.tree.map(close, state, plain)
    close(acts["norm"], expected)
    bare, _ = actlens.capture(module, "*")(variables, X, train=False)
    close(bare, module.apply(variables, X, train=False))


def test_dropout_takes_the_callers_keys() -> None:
    class Drops(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dropout(0.5, deterministic=False, name="drop")(x)

    module, rngs = Drops(), {"dropout": jax.random.key(7)}
    output, acts = actlens.capture(module, "drop")({}, X, rngs=rngs)
    close(output, module.apply({}, X, rngs=rngs))
    close(acts["drop"], output)
    output, _ = actlens.capture(module.bind({}, rngs=rngs), "drop")(X)
    close(output, module.bind({}, rngs=rngs)(X))


def test_another_method_of_the_module() -> None:
    class Auto(nn.Module):
        def setup(self) -> None:
            self.encoder = nn.Dense(2)
            self.decoder = nn.Dense(WIDTH)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.decoder(self.encoder(x))

        def encode(self, x: jax.Array) -> jax.Array:
            return self.encoder(x)

    module = Auto()
    variables = module.init(jax.random.key(0), X)
    output, acts = actlens.capture(module, "*")(variables, X, method="encode")
    assert list(acts) == ["encoder"]
    close(acts["encoder"], output)


def test_a_layer_used_by_another_method_says_so() -> None:
    class Tied(nn.Module):
        def setup(self) -> None:
            self.embed = nn.Embed(5, WIDTH)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.embed.attend(x)

    with pytest.raises(LayerNeverFired, match="embed .its method 'attend' was called"):
        actlens.capture(bound(Tied()), "embed")(X)


def test_unknown_names_list_what_there_is() -> None:
    forward = actlens.capture(bound(Scanned()), "blocks.*")
    with pytest.raises(NoLayerMatches, match=r"no layer of Scanned matches 'blocks.\*'.*first.*last"):
        forward(X)


def test_unbound_without_variables_says_what_to_call() -> None:
    with pytest.raises(
        CaptureError, match=r"this Scanned is not bound.*ArrayImpl of shape \(2, 4\).*forward\(variables, x\)"
    ):
        actlens.capture(Scanned(), "*")(X)
    with pytest.raises(CaptureError, match="a NoneType"):
        actlens.capture(Scanned(), "*")()


def test_variables_that_do_not_fit() -> None:
    variables = Block().init(jax.random.key(0), X)
    with pytest.raises(CaptureError, match="the variables given do not fit this Scanned: .*kernel"):
        actlens.capture(Scanned(), "*")(variables, X)
    wide = Scanned().init(jax.random.key(0), jnp.ones((2, 7)))
    with pytest.raises(CaptureError, match="do not fit this Scanned: .*shape"):
        actlens.capture(Scanned(), "*")(wide, X)
    with pytest.raises(CaptureError, match="do not fit this Scanned"):
        actlens.capture(Scanned(), "*")(wide["params"], X)


def test_a_module_bound_as_mutable_is_refused() -> None:
    from actlens.errors import UnsupportedModel

    module = Scanned()
    model = module.bind(module.init(jax.random.key(0), X), mutable=["params"])
    with pytest.raises(UnsupportedModel, match=r"is bound with mutable=.*forward|capture\(module"):
        actlens.capture(model, "*")(X)


def test_layers_computes_nothing_and_needs_no_variables() -> None:
    class Huge(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(1_000_000, name="wide")(nn.Dense(1_000_000, name="huge")(x))  # 4 TB of weights

    table = actlens.layers(Huge(), jnp.ones((8, 3)))
    assert table["wide"].shape == (8, 1_000_000)
    module = Scanned()
    variables = module.init(jax.random.key(0), X)
    for listed in (
        actlens.layers(module, variables, X),
        actlens.layers(module, X),
        actlens.layers(module.bind(variables), X),
    ):
        assert [key for key in listed if key.endswith("fc")] == [f"layers.{at}.fc" for at in range(LAYERS)]
        assert listed["last"].shape == (SAMPLES, 2)
    dropped = actlens.layers(bound(Scanned(carried=False)), X)
    assert dropped["layers.fc"].note.endswith("drops what it was not told of")
    assert actlens.layers(module) == {}


class Long(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axes: dict[Any, Any] = {"params": 0, "intermediates": 0}
        stack = nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=300)
        return stack(name="layers")(x, None)[0]


@pytest.mark.parametrize(
    "layers",
    ["layers.299.fc", "*.29?.fc", lambda path: path == "layers.299.fc", ["layers.*.fc", "!layers.[!2]"]],
)
def test_any_layer_of_a_long_scan_can_be_named(layers: Any) -> None:
    _, acts = actlens.capture(bound(Long()), layers)(X)
    assert "layers.299.fc" in acts


class Parent(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(WIDTH, name="dense")(x)


class Child(Parent):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x) * 100


class Family(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Child(name="child")(x)


def test_a_call_of_the_parents_is_not_another_call() -> None:
    model = bound(Family())
    output, acts = actlens.capture(model, ["child", "child@input"])(X)
    assert list(acts) == ["child@input", "child"]
    close(acts["child"], output)


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for at in range(3):
            x = JITTED(name=f"block{at}")(x)[0]
        return nn.Dense(2, name="head")(x)


@pytest.mark.parametrize("layers", [["*", "!block0"], "**", "block1.fc", "block*.fc"])
def test_blocks_that_are_compiled_once_for_all_are_all_heard(layers: Any) -> None:
    model = bound(Blocks())
    model(X)  # compiled without a capture
    for _ in range(2):
        output, acts = actlens.capture(model, layers)(X)
        close(output, model(X))
        x = X
        for at in range(3):
            own = model.variables["params"][f"block{at}"]["fc"]
            fc = x @ own["kernel"] + own["bias"]
            x = nn.relu(fc) + x
            if f"block{at}.fc" in acts:
                close(acts[f"block{at}.fc"], fc)
            if f"block{at}[0]" in acts:
                close(acts[f"block{at}[0]"], x)
    assert {"block1[0]", "block1.fc"} & set(acts)
    names = {("*", "!block0"): ["block1[0]", "block2[0]", "head"], "block1.fc": ["block1.fc"]}
    key = tuple(layers) if isinstance(layers, list) else layers
    assert list(acts) == names.get(key, list(acts))


def test_another_apply_inside_is_not_heard() -> None:
    teacher = Parent()
    given = teacher.init(jax.random.key(5), X)

    class Student(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            target, state = teacher.apply(given, x, mutable=["intermediates"])
            assert not state  # nothing of ours
            _, acts = actlens.capture(teacher, "dense")(given, x)
            assert list(acts) == ["dense"]
            return nn.Dense(WIDTH, name="dense")(x) - target

    model = bound(Student())
    output, acts = actlens.capture(model, "**")(X)
    assert list(acts) == ["dense"]
    own = model.variables["params"]["dense"]
    close(acts["dense"], X @ own["kernel"] + own["bias"])
    close(output, model(X))


def test_a_subclass_that_computes_something_else_has_no_names_of_axes() -> None:
    class Turned(nn.Dense):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return super().__call__(x).T

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Turned(3, name="turned")(x)

    _, acts = actlens.capture(bound(Model()), "turned")(X)
    assert acts["turned"].shape == (3, SAMPLES)
    assert acts.axes == {}


def test_two_layers_with_one_name_are_refused() -> None:
    class Clash(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Holder(name="a")(nn.Dense(WIDTH, name="a.dense")(x))

    class Holder(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(WIDTH, name="dense")(x)

    with pytest.raises(CaptureError, match="two captured values share the key 'a.dense'"):
        actlens.capture(bound(Clash()), "**")(X)


def test_capture_intermediates_of_the_caller_gives_its_pair() -> None:
    module = Parent()
    variables = module.init(jax.random.key(0), X)
    (output, state), acts = actlens.capture(module, "dense")(variables, X, capture_intermediates=True)
    expected, plain = module.apply(variables, X, capture_intermediates=True)
    close(output, expected)
    assert jax.tree.structure(state) == jax.tree.structure(dict(plain))
    assert list(acts) == ["dense"]


SHARED: dict[str, Any] = {
    "variable_axes": {"params": None, "intermediates": 0},
    "split_rngs": {"params": False},
}
OWN: dict[str, Any] = {"variable_axes": {"params": 0, "intermediates": 0}, "split_rngs": {"params": True}}


class Mapped(nn.Module):
    """A layer mapped over the samples, through other transformations."""

    through: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.vmap(self.through(nn.Dense), **SHARED)(3, name="dense")(x)


@pytest.mark.parametrize("through", [nn.remat, nn.jit, lambda cls: nn.remat(nn.jit(cls))])
def test_a_batch_is_a_batch_through_other_transformations(through: Any) -> None:
    model = bound(Mapped(through))
    output, acts = actlens.capture(model, "dense")(X)
    assert list(acts) == ["dense"]
    close(acts["dense"], output)


class OneSample(nn.Module):
    """Layers that a scan runs through, for one sample."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.scan(Block, length=LAYERS, **OWN)(name="layers")(x, None)[0]


class ScanInVmap(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.vmap(OneSample, **SHARED)(name="each")(x)


def test_a_scan_over_layers_in_a_vmap_over_samples() -> None:
    model = bound(ScanInVmap())
    output, acts = actlens.capture(model, "each.layers.*.fc")(X)
    assert list(acts) == [f"each.layers.{at}.fc" for at in range(LAYERS)]
    x = X
    for at in range(LAYERS):
        own = jax.tree.map(lambda leaf, at=at: leaf[at], model.variables["params"]["each"]["layers"]["fc"])
        fc = x @ own["kernel"] + own["bias"]
        close(acts[f"each.layers.{at}.fc"], fc)
        x = nn.relu(fc) + x
    close(output, x)


class Square(nn.Module):
    """As many samples as layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.vmap(OneSample, **SHARED)(name="each")(x[:1].repeat(LAYERS, 0))


class LastAxis(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        own: dict[str, Any] = {
            "variable_axes": {"params": 0, "intermediates": -1},
            "split_rngs": {"params": True},
        }

        class Outer(nn.Module):
            @nn.compact
            def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
                return nn.scan(Block, length=3, **own)(name="inner")(x, None)[0], None

        return nn.scan(Outer, length=2, **own)(name="outer")(x, None)[0]


@pytest.mark.parametrize("module", [Square(), LastAxis()])
def test_axes_that_cannot_be_told_apart_are_refused(module: nn.Module) -> None:
    with pytest.raises(UncapturableValue, match="cannot be told which axis is which.*the axis 0"):
        actlens.capture(bound(module), "**.fc")(X)


def test_layers_of_a_model_with_random_numbers_and_a_dict_of_inputs() -> None:
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, given: dict[str, jax.Array]) -> jax.Array:
            x = given["x"] + jax.random.normal(self.make_rng("noise"), given["x"].shape)
            return nn.Dense(3, name="dense")(x)

    assert actlens.layers(Noisy(), {"x": X})["dense"].shape == (SAMPLES, 3)
