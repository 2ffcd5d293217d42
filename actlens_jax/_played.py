"""From what the modules of one call sowed to Activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

from actlens.activations import Activations, Layer, Selector, Tape
from actlens.errors import UncapturableValue
from actlens.keys import INPUT, Leaves
from actlens_jax._hearing import Hearing
from actlens_jax._lifted import Entry, Level, Lifts, Payload, with_indices
from actlens_jax._memory import IN, INNER, MARK, OUT, Memory, Seen, Slot
from actlens_jax._values import Shape, is_array

NOT_PASSED_ON = (
    "a value inside a jax transformation that does not pass it on",
    "The layer is called in a branch or a loop (cond, switch, while_loop, or jax.lax.scan and jax.vmap used "
    "directly): capture the layer that contains it, use the transformation of flax (nn.scan, nnx.scan), or "
    "call both branches and choose with jnp.where.",
)

Sown = Mapping[str, Mapping[Slot, Iterable[Payload]]]
"""path → slot → what each call of the module sowed there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What a framework knows of its model beside the call: parameters, names, and why values get lost."""

    shapes: Callable[[str], tuple[Shape, ...]]
    lost: Callable[[str], str]
    expected: Mapping[str, str]


def played(select: Selector, hearing: Hearing, sown: Sown, model: Model) -> Activations:
    """Hand all that was sown to a tape, in the order of the forward."""
    memory = hearing.memory
    entries = [
        Entry(path, slot, call, payload)
        for path, slots in sown.items()
        for slot, payloads in slots.items()
        for call, payload in enumerate(payloads, start=1)
    ]
    for entry in entries:
        if any(hearing.never_left(array) for array, *_ in entry.payload.values()):
            raise UncapturableValue.of(entry.path, *NOT_PASSED_ON)
    tape = Tape(select, is_array=is_array, keep=select.transform)
    for name, why in model.expected.items():
        slots = sown.get(name.removesuffix(INPUT), {})
        slot = IN if name.endswith(INPUT) else OUT
        if slot not in slots and slot + INNER not in slots:  # what fired may have other names: layers.0
            tape.expect(name, why)
    _expect(tape, hearing, sown, model.lost)
    lifts = Lifts(entries, memory, model.shapes)
    shown = sorted(_emissions(entries, memory, lifts), key=lambda emission: emission.place)
    for emission in shown:
        tape.meet(emission.layer.path)
        if emission.into:
            tape.input(emission.layer, emission.leaves)
        else:
            tape.output(emission.layer, emission.leaves)
    stacked = {entry.path for entry in entries if entry.added}
    for path in {**memory.seen, **memory.inner}:
        if path not in stacked:
            tape.meet(path)
    return tape.activations()


@dataclasses.dataclass(frozen=True, slots=True)
class _Emission:
    place: tuple[tuple[int, int], ...]
    layer: Layer
    into: bool
    leaves: Leaves


def _emissions(entries: Iterable[Entry], memory: Memory, lifts: Lifts) -> Iterator[_Emission]:
    entries = [entry for entry in entries if entry.slot != MARK]
    first: dict[str, int] = {}
    placed = []
    for entry in entries:
        place = memory.place_of(entry.path, entry.slot, entry.call)
        levels = lifts.levels(entry)
        placed.append((entry, place, levels))
        for level in levels:
            first[level.prefix] = min(place, first.get(level.prefix, place))
    for entry, place, levels in placed:
        layer = _layer(memory, entry.path, levels)
        order = memory.suffixes[entry.path, entry.slot]
        for index, arrays in entry.unstacked([level.mode for level in levels]):
            steps = tuple((first[level.prefix], at) for level, at in zip(levels, index, strict=True))
            path = with_indices(entry.path, levels, index)
            yield _Emission(
                (*steps, (place, 0)),
                dataclasses.replace(layer, path=path),
                entry.slot.startswith(IN),
                Leaves({suffix: arrays.get(suffix, odd) for suffix, odd in order.items()}),
            )


def _layer(memory: Memory, path: str, levels: list[Level]) -> Layer:
    seen: Seen = (memory.inner if levels or path not in memory.seen else memory.seen)[path]
    if any(level.mode == "batch" for level in levels):
        return dataclasses.replace(seen.layer, axes=lambda _suffix, _array: None)
    return seen.layer


def _expect(tape: Tape, hearing: Hearing, sown: Sown, lost: Callable[[str], str]) -> None:
    """Say what is listened to; a value that no transformation carried outside is named with the cure."""
    memory = hearing.memory
    for path, slot in memory.suffixes:
        name = path + (INPUT if slot.startswith(IN) else "")
        dropped = hearing.fired(path, slot) and slot not in sown.get(path, {})
        if dropped or (path, slot) in memory.lost:
            elsewhere = any(other in sown.get(path, {}) for other in (slot + INNER, slot.removesuffix(INNER)))
            tape.expect(f"{name} in a transformation" if elsewhere else name, lost(path))
    for path, method in memory.methods.items():
        if path not in memory.seen and path not in memory.inner and memory.wants(path, inner=False):
            tape.expect(path, f"its method {method!r} was called, not the module itself")
