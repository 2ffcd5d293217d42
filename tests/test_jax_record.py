"""record() with Flax models: one compilation, full batches, every device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import actlens
from actlens.errors import CaptureError, RowsError, UncapturableValue

ROWS, WIDTH = 10, 4
X = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
TRACES: list[tuple[int, ...]] = []


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        TRACES.append(x.shape)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(6, name="fc")(x))
        return nn.Dense(2, name="head")(nn.Dropout(0.5, deterministic=not train, name="drop")(x))


class NNX(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.fc = nnx.Linear(WIDTH, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        TRACES.append(x.shape)
        return self.head(self.drop(self.norm(self.fc(x))))


def linen() -> Any:
    module = Linen()
    variables = module.init({"params": jax.random.key(0)}, X, train=False)
    stats = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    return module.bind({"params": variables["params"], "batch_stats": stats})


def in_eval(model: Any, x: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """What each layer gives in evaluation mode."""
    if isinstance(model, nn.Module):
        _, acts = actlens.capture(model, "**")(jnp.asarray(x), train=False)
    else:
        copy = nnx.clone(model)
        copy.eval()
        _, acts = actlens.capture(copy, "**")(jnp.asarray(x))
    return {key: np.asarray(array) for key, array in acts.items()}


def batches(size: int) -> Iterator[Any]:
    for at in range(0, ROWS, size):
        yield X[at : at + size], np.arange(at, min(at + size, ROWS))


@pytest.mark.parametrize("make", [linen, NNX])
def test_a_data_set_is_recorded_in_evaluation_mode_with_one_trace(
    make: Callable[[], Any], tmp_path: Any
) -> None:
    model = make()
    expected = in_eval(model, X)
    with compilations() as compiled:
        run = actlens.record(model, batches(4), tmp_path / "run", layers="**", columns=["label"])
    assert len([name for name in compiled if "evaluate" in name]) == 1  # not again for the last batch, of 2
    assert list(run) == ["fc", "norm", "drop", "head"]
    for key in run:
        np.testing.assert_allclose(run[key][:], expected[key], rtol=1e-5, atol=1e-6)
    assert list(run.columns["label"]) == list(range(ROWS))
    assert run["fc"].axes == ("sample", "unit")


@pytest.mark.parametrize("make", [linen, NNX])
def test_a_model_is_as_it_was(make: Callable[[], Any], tmp_path: Any) -> None:
    model = make()
    if isinstance(model, nnx.Module):
        model.train()
    state = nnx.state(model) if isinstance(model, nnx.Module) else model.variables
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(state) if not _is_key(leaf)]
    actlens.record(model, batches(4), tmp_path / "run", layers="fc")
    state = nnx.state(model) if isinstance(model, nnx.Module) else model.variables
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(state) if not _is_key(leaf)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
    if isinstance(model, nnx.Module):
        assert not model.drop.deterministic
        assert not model.norm.use_running_average


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Give the names of what XLA compiles in the block."""
    found: list[str] = []

    class Names(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Finished XLA compilation of" in record.getMessage():
                found.append(record.getMessage())

    logger, handler = logging.getLogger("jax._src.dispatch"), Names()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class OfTheSize(nnx.Module):
    """Computes with the number of samples."""

    def __init__(self) -> None:
        self.mean = Share()
        self.capacity = Capacity()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.capacity(self.mean(x))


class Share(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x / x.shape[0]


class Capacity(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        kept = jnp.arange(x.shape[0]) < x.shape[0] // 2 + 1
        return jnp.where(kept[:, None], x, 0)


@pytest.mark.parametrize("layer", ["mean", "capacity"])
def test_a_model_that_computes_with_the_size_of_its_batch(layer: str, tmp_path: Any) -> None:
    model = OfTheSize()
    data = [X[:7], X[7:]]
    run = actlens.record(model, data, tmp_path / "run", layers=layer)
    expected = [np.asarray(actlens.capture(model, layer)(jnp.asarray(x))[1][layer]) for x in data]
    np.testing.assert_allclose(run[layer][:], np.concatenate(expected), rtol=1e-6)


class Positions(nnx.Module):
    def __init__(self) -> None:
        self.fc, self.pos = nnx.Linear(WIDTH, 4, rngs=nnx.Rngs(0)), nnx.Embed(4, 4, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc(x) @ self.pos(jnp.arange(4))


def test_a_table_as_long_as_a_batch_is_not_rows(tmp_path: Any) -> None:
    with pytest.raises(RowsError, match="pos"):
        actlens.record(Positions(), batches(4), tmp_path / "run", layers=["fc", "pos"])


class Scales(nnx.Module):
    def __init__(self) -> None:
        self.scale = Scale()

    def __call__(self, x: jax.Array, by: Any) -> jax.Array:
        return self.scale(x, by)


class Scale(nnx.Module):
    def __call__(self, x: jax.Array, by: Any) -> jax.Array:
        return x * by


@pytest.mark.parametrize(("dtype", "by"), [(np.uint8, 3), (ml_dtypes.bfloat16, 2.5), (np.float32, 3)])
def test_a_number_does_not_widen_a_dtype(dtype: Any, by: float, tmp_path: Any) -> None:
    x = np.full((4, 3), 200, dtype)
    run = actlens.record(Scales(), [(x, by)], tmp_path / "run", layers="scale", inputs=2)
    _, acts = actlens.capture(Scales(), "scale")(jnp.asarray(x), by)
    assert run["scale"].dtype == dtype
    assert run["scale"][:].tobytes() == np.asarray(acts["scale"]).tobytes()


def test_a_model_with_attributes_that_have_no_hash(tmp_path: Any) -> None:
    model = NNX()
    model.config = nnx.static({"width": [WIDTH]}) if hasattr(nnx, "static") else {"width": [WIDTH]}
    run = actlens.record(model, batches(4), tmp_path / "run", layers="fc")
    assert run.rows == ROWS


def test_a_mode_given_by_place(tmp_path: Any) -> None:
    data = [(X, False)]
    run = actlens.record(linen(), data, tmp_path / "run", layers="fc", inputs=2)
    np.testing.assert_allclose(run["fc"][:], in_eval(linen(), X)["fc"], rtol=1e-5, atol=1e-6)


def test_bfloat16_of_pytorch(tmp_path: Any) -> None:
    import torch

    x = torch.from_numpy(X).to(torch.bfloat16)
    run = actlens.record(Scales(), [(x, 1)], tmp_path / "run", layers="scale", inputs=2)
    assert run["scale"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(run["scale"][:].astype(np.float32), x.float().numpy())


class Mixes(nnx.Module):
    """Takes the mean of the batch away: what is filled in would change the rest."""

    def __init__(self) -> None:
        self.fc = nnx.Linear(WIDTH, 3, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        TRACES.append(x.shape)
        return self.fc(x - x.mean(axis=0))


def test_a_model_that_mixes_samples_is_not_filled_up(tmp_path: Any) -> None:
    model = Mixes()
    run = actlens.record(model, batches(4), tmp_path / "run", layers="fc")
    expected = np.concatenate([np.asarray(model(jnp.asarray(x))) for x, _ in batches(4)])
    np.testing.assert_allclose(run["fc"][:], expected, rtol=1e-5, atol=1e-6)


class Masked(nnx.Module):
    def __init__(self) -> None:
        self.fc = nnx.Linear(WIDTH, 3, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array, scale: jax.Array) -> jax.Array:
        return self.fc(x * scale)


def test_an_argument_that_is_the_same_for_all_is_not_filled_up(tmp_path: Any) -> None:
    model, scale = Masked(), np.full((1, WIDTH), 2, np.float32)
    run = actlens.record(model, ((x, scale) for x, _ in batches(4)), tmp_path / "run", layers="fc", inputs=2)
    np.testing.assert_allclose(run["fc"][:], np.asarray(model.fc(X * 2)), rtol=1e-5, atol=1e-6)


class Flagged(nnx.Module):
    def __init__(self) -> None:
        self.fc = nnx.Linear(WIDTH, 3, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array, power: Any, negative: bool, way: str) -> jax.Array:
        TRACES.append(x.shape)
        return self.fc(-(x**power) if negative and way == "up" else x**power)


def test_flags_are_compiled_and_numbers_are_not(tmp_path: Any) -> None:
    model, names = Flagged(), ["x", "power", "negative", "way"]
    data = [dict(zip(names, (X, power, True, "up"), strict=True)) for power in (1, 2, 3)]
    TRACES.clear()
    run = actlens.record(model, data, tmp_path / "run", layers="fc", inputs=names)
    expected = np.concatenate([np.asarray(model.fc(-(X**power))) for power in (1, 2, 3)])
    np.testing.assert_allclose(run["fc"][:], expected, rtol=1e-4, atol=1e-5)
    assert len(TRACES) == 1


def test_growing_and_changing_batches(tmp_path: Any) -> None:
    model = NNX()
    expected = in_eval(model, X)["fc"]
    parts = [X[:1], X[1:4], X[4:6], X[6:10]]
    run = actlens.record(model, parts, tmp_path / "run", layers="fc")
    np.testing.assert_allclose(run["fc"][:], expected, rtol=1e-5, atol=1e-6)


def test_weights_are_those_of_the_moment(tmp_path: Any) -> None:
    """Whoever makes the batches may train meanwhile."""
    model = NNX()

    def training() -> Iterator[Any]:
        for scale in (1, 2):
            model.fc.kernel.set_value(jnp.full((WIDTH, 6), scale, jnp.float32))
            yield X

    run = actlens.record(model, training(), tmp_path / "run", layers="fc")
    np.testing.assert_allclose(run["fc"][ROWS:], run["fc"][:ROWS] * 2, rtol=1e-5, atol=1e-5)


def test_tensors_of_another_frameworks_loader(tmp_path: Any) -> None:
    import torch

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(ROWS))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    model = NNX()
    run = actlens.record(model, loader, tmp_path / "run", layers="fc", columns=["id"])
    np.testing.assert_allclose(run["fc"][:], in_eval(model, X)["fc"], rtol=1e-5, atol=1e-6)


def test_an_unbound_module_says_how_to_bind_it(tmp_path: Any) -> None:
    with pytest.raises(CaptureError, match=r"this Linen is not bound.*record\(module.bind\(variables\)"):
        actlens.record(Linen(), batches(4), tmp_path / "run", layers="fc")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("*.safetensors"))


def test_bfloat16_stays_bfloat16(tmp_path: Any) -> None:
    module = nn.Sequential([nn.Dense(3, dtype=jnp.bfloat16), nn.Dense(2)])
    model = module.bind(module.init(jax.random.key(0), X))
    run = actlens.record(model, batches(4), tmp_path / "run", layers="**")
    assert run["layers_0"].dtype == ml_dtypes.bfloat16
    assert run["layers_1"].dtype == np.float32
    expected, _ = actlens.capture(model, "layers_0")(X)
    del expected
    _, acts = actlens.capture(model, "layers_0")(jnp.asarray(X))
    got, want = run["layers_0"][:].astype(np.float32), np.asarray(acts["layers_0"]).astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)


# ---------------------------------------------------------------------- several devices


def test_a_model_on_a_mesh(tmp_path: Any) -> None:
    """Parameters and inputs that lie on four devices give what they give on one."""
    devices = _four()
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    model = linen()
    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    module, variables = model.unbind()
    there = module.bind(jax.device_put(variables, whole))
    parts = [jax.device_put(jnp.asarray(X[:8]), split)]
    run = actlens.record(there, parts, tmp_path / "run", layers="**")
    for key, expected in in_eval(model, X[:8]).items():
        np.testing.assert_allclose(run[key][:], expected, rtol=1e-5, atol=1e-6)
    _, acts = jax.jit(actlens.capture(there, "fc"), static_argnames="train")(parts[0], train=False)
    assert len(acts["fc"].sharding.device_set) == 4  # capture moves nothing


@pytest.mark.parametrize("axis_name", [None, "data"])
def test_the_axis_of_pmap_is_folded_back(axis_name: str | None, tmp_path: Any) -> None:
    _four()
    model = linen()
    module, variables = model.unbind()
    forward = actlens.capture(module, ["fc", "head"])
    mapped = jax.pmap(lambda v, x: forward(v, x, train=False), in_axes=(None, 0), axis_name=axis_name)
    output, acts = mapped(variables, X[:8].reshape(4, 2, WIDTH))
    assert output.shape == (4, 2, 2)
    expected = in_eval(model, X[:8])
    for key, array in acts.items():
        np.testing.assert_allclose(np.asarray(array), expected[key], rtol=1e-5, atol=1e-6)
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write(acts, id=np.arange(8))
    assert actlens.open(tmp_path / "run")["fc"].shape == (8, 6)


def test_shard_map_and_vmap_add_no_devices() -> None:
    _four()
    model = linen()
    module, variables = model.unbind()
    forward = actlens.capture(module, "fc")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spec = PartitionSpec("data")
    mapped = jax.shard_map(
        lambda x: forward(variables, x, train=False), mesh=mesh, in_specs=spec, out_specs=spec
    )
    _, acts = mapped(jnp.asarray(X[:8]))
    np.testing.assert_allclose(np.asarray(acts["fc"]), in_eval(model, X[:8])["fc"], rtol=1e-5, atol=1e-6)
    inside = jax.shard_map(
        lambda x: jax.vmap(lambda row: forward(variables, row[None], train=False)[1])(x),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
    )
    assert inside(jnp.asarray(X[:8]))["fc"].shape == (8, 1, 6)
    _, single = jax.vmap(lambda x: forward(variables, x[None], train=False))(jnp.asarray(X[:8]))
    assert single["fc"].shape == (8, 1, 6)
    assert single.axes == {}  # (sample, unit) is no longer true


def _four() -> list[Any]:
    if len(jax.devices()) < 4:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=4, set by tests/conftest.py")
    return jax.devices()[:4]


# ---------------------------------------------------------------------- fetch


def test_what_cannot_be_fetched_says_why(tmp_path: Any) -> None:
    import actlens_jax

    with pytest.raises(UncapturableValue, match=r"layer 'k' gave random number keys.*key_data"):
        actlens_jax.fetch({"k": jax.random.key(0)})
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(UncapturableValue, match=r"layer 'a' gave an array whose memory was given away"):
        actlens_jax.fetch({"a": gone})
    with pytest.raises(IndexError, match="rows 3 to 3 of an array with 2 rows"):
        actlens_jax.fetch({"a": jnp.ones((2, 2))}, rows=np.array([3]))

    def traced(x: jax.Array) -> jax.Array:
        actlens_jax.fetch({"a": x})
        return x

    with pytest.raises(UncapturableValue, match=r"still being traced.*Return the activations"):
        jax.jit(traced)(jnp.ones(3))


def test_a_layer_that_is_not_one_row_a_sample(tmp_path: Any) -> None:
    class Turned(nnx.Module):
        def __init__(self) -> None:
            self.turn = Turn()

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.turn(x).T

    class Turn(nnx.Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return x.T

    with pytest.raises(RowsError, match="turn"):
        actlens.record(Turned(), [X], tmp_path / "run", layers="turn")
