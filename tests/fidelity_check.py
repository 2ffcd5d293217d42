"""The proof: outputs are the same with capture, and what was captured is what numpy computes in float64.

Three things are checked of a model, and nothing that was captured escapes:

- the output, to the bit;
- what goes into each call of each layer: to the bit, it is the model's own input or what was captured before
  it (so a capture that fits itself, but is of another moment, fails), or else what `between` says;
- what comes out of each call: the oracle of the layer computes it from the captured input and the weights.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]

EVERYTHING = ["**", "**@input"]
# float32 has 6e-8; sums of some ten to a hundred terms, and the layers' own square roots and exponentials
RELATIVE, OF_LARGEST = 2e-6, 1e-6

KEY = re.compile(r"(?P<path>[^:@\[]+)(?P<call>:\d+)?(?P<at>@input)?(?P<leaf>\[.*)?")


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer in a capture: what went in, what came out, and the layers inside of it.

    >>> acts = {"a@input": np.ones(2), "a": np.ones(2), "a.fc:2": np.zeros(2)}
    >>> Call(acts, "a").input, Call(acts, "a").name, Call(acts, "a", ":2").inner("fc").output
    (array([1., 1.]), 'a', array([0., 0.]))
    """

    acts: Arrays
    path: str
    number: str = ""

    @property
    def name(self) -> str:
        return self.path + self.number

    @property
    def input(self) -> Array:
        return self.acts[f"{self.name}@input"]

    @property
    def output(self) -> Array:
        return self.acts[self.name]

    def argument(self, name: str | int) -> Array:
        found = self.leaves("@input")
        return found[""] if name == 0 and "" in found else found[f"[{name}]"]

    def inner(self, name: str) -> Call:
        """Give the layer inside of this one, called as often as this one is."""
        return Call(self.acts, f"{self.path}.{name}" if self.path else name, self.number)

    def leaves(self, at: str = "") -> dict[str, Array]:
        """Give what came out (or with '@input' went in), by suffix."""
        start = self.name + at
        found = {key.removeprefix(start): value for key, value in self.acts.items() if key.startswith(start)}
        return {suffix: value for suffix, value in found.items() if not suffix or suffix[0] == "["}


# what a call gives: one array, or one for each suffix
Expected = Array | dict[str, Array]
Oracle = Callable[[Call], Expected]


def calls(acts: Arrays) -> Iterator[Call]:
    """Give every call of which anything was captured, once."""
    seen = {}
    for key in acts:
        match = KEY.fullmatch(key)
        assert match, f"{key!r} is no key"
        call = Call(acts, match["path"], match["call"] or "")
        seen[call.name] = call
    yield from seen.values()


def as_arrays(acts: Mapping[str, Any]) -> dict[str, Array]:
    return {key: np.asarray(value) for key, value in acts.items()}


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def assert_same_bits(plain: Any, output: Any) -> None:
    a, b = np.asarray(plain), np.asarray(output)
    assert same_bits(a, b), f"the output changes with capture, by {noise(a, b)}"


def noise(a: Array, b: Array) -> float:
    """Give the largest difference, relative to the largest value."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / np.abs(a).max())


def wrong(actual: Array, expected: Array) -> Array:
    """Say which values are further from their float64 reference than float32 explains."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    room = RELATIVE * np.abs(expected) + OF_LARGEST * np.abs(expected).max()
    return ~(np.abs(actual - expected) <= room)


def close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and not wrong(a, b).any()


def assert_close(name: str, actual: Array, expected: Array) -> None:
    """Compare a captured float32 with its float64 reference."""
    assert actual.shape == expected.shape, (
        f"{name} has the shape {actual.shape}, by its definition {expected.shape}"
    )
    assert actual.size, f"{name} is empty"
    off = wrong(actual, expected)
    assert not off.any(), (
        f"{name}: {off.sum()} of {off.size} values differ, by up to {noise(expected, actual)}"
    )


def assert_call(call: Call, oracle: Oracle) -> None:
    """Compare all that came out of a call with what its oracle computes."""
    expected = oracle(call)
    if not isinstance(expected, dict):
        expected = {"": expected}
    captured = call.leaves()
    assert set(captured) == set(expected), f"{call.name} gives {sorted(captured)}, not {sorted(expected)}"
    for suffix, value in captured.items():
        assert_close(call.name + suffix, value, expected[suffix])


def between_layers(heard: list[Call], between: Mapping[str, Oracle]) -> Iterator[str]:
    """Check the inputs that operations between layers have made; give their keys: they may go further in."""
    for call in heard:
        for suffix, value in call.leaves("@input").items():
            oracle = between.get(f"{call.path}@input{suffix}")
            if oracle:
                expected = oracle(call)
                assert not isinstance(expected, dict)
                assert_close(f"{call.name}@input{suffix}", value, expected)
                yield f"{call.name}@input{suffix}"


def assert_from_before(
    arrays: Arrays, given: list[Array], made: set[str], same: Callable[[Array, Array], bool]
) -> None:
    """See that what went into each call had been there before it.

    Before, not anywhere: an input that its own layer has overwritten in place equals what the layer gave.
    """
    known = list(given)
    for key, value in arrays.items():
        if "@input" in key and key not in made:
            assert any(same(value, other) for other in known), f"{key} comes from nowhere"
        known.append(value)


def assert_fidelity(
    inputs: list[Any],
    plain: Any,
    output: Any,
    acts: Mapping[str, Any],
    oracles: Mapping[str, Oracle],
    between: Mapping[str, Oracle] | None = None,
    *,
    exact: bool = True,
) -> None:
    """Prove one forward; `oracles[""]` says what the model gives, `exact=False` is for compiled programs."""
    arrays = as_arrays(acts)
    plain, output = np.asarray(plain), np.asarray(output)
    if exact:
        assert_same_bits(plain, output)
    else:
        assert_close("the output", output, plain)
    assert_close("the model", output, np.asarray(oracles[""](Call(arrays, ""))))
    given = [np.asarray(value) for value in inputs]
    heard = list(calls(arrays))
    made = set(between_layers(heard, between or {}))
    for call in heard:
        assert call.path in oracles, f"{call.path} was captured, and nothing says what it should be"
        assert call.leaves("@input"), f"the input of {call.name} was not captured"
        assert_call(call, oracles[call.path])
    assert_from_before(arrays, given, made, same_bits if exact else close)
    missing = set(oracles) - {call.path for call in heard} - {""}
    assert not missing, f"never captured: {sorted(missing)}"
