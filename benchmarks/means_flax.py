"""Recording in Flax, Linen and NNX, by every means. By hand: one jitted function that gives the four layers.

The function is kept for the process. It compiles once more for the last batch, which is smaller: while
warming up, so that no compilation is counted against it, unless the run is cold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import saving

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
SIZES = {"resnet18": (32, 64, 64, 3), "mlp": (256, 256)}  # one batch
LARGE = "actlens 256 MiB shards"


def batches(name: str, rows: int) -> Iterator:
    return saving.noise(SIZES[name], rows)


def linen(name: str):
    """Give a bound module."""
    import jax
    import models_linen

    module = {"resnet18": models_linen.ResNet18, "mlp": models_linen.MLP}[name]()
    variables = jax.jit(module.init)(jax.random.key(0), next(batches(name, 1)))
    return module.bind(variables)


def nnx(name: str):
    """Give a module."""
    import models_nnx
    from flax import nnx

    return {"resnet18": models_nnx.ResNet18, "mlp": models_nnx.MLP}[name](nnx.Rngs(0))


@saving.once
def _bare(model) -> Callable:
    import jax
    from flax import nnx

    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        step = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
        return lambda x: step(state, x)
    module, variables = model.unbind()
    step = jax.jit(module.apply)
    return lambda x: step(variables, x)


@saving.once
def _by_hand(model) -> Callable:
    import jax
    from flax import nnx

    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        stages = jax.jit(lambda state, x: nnx.merge(graph, state).stages(x))
        return lambda x: dict(zip(LAYERS, stages(state, x), strict=True))
    module, variables = model.unbind()

    def wanted(module, method: str) -> bool:
        return method == "__call__" and ".".join(module.path) in LAYERS

    @jax.jit
    def step(variables, x):
        _, state = module.apply(variables, x, capture_intermediates=wanted, mutable=["intermediates"])
        return {name: state["intermediates"][name]["__call__"][0] for name in LAYERS}

    return lambda x: step(variables, x)


def bare(model, batches, _out: Path) -> None:
    step = _bare(model)
    for batch in batches:
        step(batch).block_until_ready()


def by_hand(model, batches, out: Path, *, sync: bool = False) -> None:
    saving.saved(batches, _by_hand(model), out, sync=sync)


def actlens_record(model, batches, out: Path, **options) -> None:
    import actlens

    actlens.record(model, batches, out / "run", layers=LAYERS, progress=False, **options)


METHODS: dict[str, Callable] = {
    "bare": bare,
    "hand+np.save": by_hand,
    "hand+np.save+fsync": lambda *a: by_hand(*a, sync=True),
    "actlens": actlens_record,
    "actlens rename": lambda *a: actlens_record(*a, durability="rename"),
}
METHODS[LARGE] = lambda *a: actlens_record(*a, shard_bytes=256 << 20)
