"""Errors of the port check: layers that nothing goes with, tolerances that are none, and layers that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actlens.errors._base import listed
from actlens.errors._compare import CompareError


class DiffError(CompareError):
    """Two recordings whose layers cannot be brought together for a check."""

    @classmethod
    def nothing_matches(cls, feature: str, a: Iterable[str], b: Iterable[str]) -> DiffError:
        """No layer of one side goes with one of the other."""
        return cls(
            f"{feature}: no layer of a goes with a layer of b, neither by name nor by debiased CKA. a has {listed(a)}; b has "
            f"{listed(b)}. Say which go together: layers={{name in a: name in b}}."
        )

    @classmethod
    def no_layer(cls, feature: str, side: str, name: object, names: Iterable[str]) -> DiffError:
        """A mapping that names what is not there."""
        return cls(
            f"{feature}: layers= names {name!r}, and {side} has no such layer. It has {listed(names)}."
        )

    @classmethod
    def named_twice(cls, feature: str, name: object, by: Iterable[str]) -> DiffError:
        """A mapping with one layer of b for several of a."""
        return cls(
            f"{feature}: layers= gives the layer {name!r} of b to several layers of a: {listed(by)}. Give each its own, or "
            "compare them one after the other."
        )

    @classmethod
    def one_ragged(cls, feature: str, ragged: str, other: str, shape: Sequence[object]) -> DiffError:
        """Positions that differ from sample to sample, against an array with several axes of them."""
        return cls(
            f"{feature}: the samples of {ragged} differ in length, and {other} has shape {tuple(shape)}: only (samples, positions, "
            "features) can be compared with it, position by position. Record both with the same mask= or lengths=, or join the "
            "last axes with an einops pattern."
        )

    @classmethod
    def tolerance(cls, feature: str, name: str, given: object) -> DiffError:
        """NaN or a negative number would make every comparison agree, or none."""
        return cls(f"{feature}: {name}={given!r}; it takes a finite number of at least 0, e.g. 1e-5.")


class NotClose(DiffError, AssertionError):
    """Layers that differ beyond the tolerance: a failed assertion, which pytest shows with the table."""

    @classmethod
    def of(cls, table: str) -> NotClose:
        """Some layer diverges."""
        return cls(f"compare.assert_close: the layers differ.\n\n{table}")
