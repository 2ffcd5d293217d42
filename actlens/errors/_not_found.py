"""Errors of asking a recording for what it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actlens.errors._base import ActlensError, listed


class NotFound(ActlensError, KeyError):
    """No such layer, column, step or id."""

    @classmethod
    def layer(cls, key: str, names: Iterable[str]) -> NotFound:
        """Give the layers that there are."""
        return cls(f"no layer {key!r} in this recording. Its layers: {listed(names)}.")

    @classmethod
    def statistics(cls, key: str, names: Iterable[str]) -> NotFound:
        """Give the layers that statistics were made of."""
        return cls(f"no layer {key!r} in these statistics. Their layers: {listed(names)}.")

    @classmethod
    def compared(cls, key: object, names: Iterable[str]) -> NotFound:
        """Give the layers that were compared."""
        return cls(f"no layer {key!r} in this comparison. Its layers, by their names in a: {listed(names)}.")

    @classmethod
    def column(cls, name: str, names: Iterable[str]) -> NotFound:
        """Give the columns that there are."""
        return cls(f"no column {name!r} in this recording. Its columns: {listed(names)}.")

    @classmethod
    def row(cls, layer: str, number: object, rows: int) -> NotFound:
        """A row number out of range, or none."""
        return cls(f"layer {layer!r} has no row {number!r}. It has {rows} rows, 0 to {rows - 1}.")

    @classmethod
    def value(cls, column: str, wanted: object, values: Iterable[object]) -> NotFound:
        """Nothing has this value."""
        return cls(f"no row has {column}={wanted!r}. Values of {column!r}: {listed(values)}.")

    @classmethod
    def together(cls, values: Mapping[str, object]) -> NotFound:
        """Each value is there, or none was asked for; no row has them all."""
        wanted = listed(f"{name}={value!r}" for name, value in values.items())
        return cls(
            f"no row has {wanted} together: sel() would be empty. Ask for fewer conditions, or other values."
        )

    @classmethod
    def axis(cls, layer: str, name: str, axes: Iterable[str]) -> NotFound:
        """Give the axes that there are."""
        return cls(f"layer {layer!r} has no axis {name!r} to average over. Its axes: {listed(axes)}.")

    @classmethod
    def ambiguous(cls, path: object, ident: object) -> NotFound:
        """A join by id needs each id once."""
        return cls(
            f"id {ident!r} stands more than once in {path}, so rows cannot be joined by id. "
            "Select one step first: run.sel(step=…)."
        )

    @classmethod
    def no_shared_ids(cls, a: object, b: object) -> NotFound:
        """Two recordings of different samples."""
        return cls(
            f"{a} and {b} have no id in common, so their rows cannot be joined. Record both with the same ids "
            "(a column named 'id')."
        )

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show the repr
