"""Which activations a command works on: of which recording, which rows, in which form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from actlens.cli.problems import Misuse
from actlens.layer_array import LayerArray
from actlens.ragged_array import RaggedArray
from actlens.recording import Recording
from actlens.recording import open as open_recording

_FEATURES = ("channel", "unit", "feature", "features")  # axes that hold what a layer computes
_KINDS = {"i": "whole numbers", "u": "whole numbers", "f": "numbers", "b": "true and false"}
_BOOLEANS = {"true": True, "false": False}


def recording(run: str, where: list[str] | None) -> Recording:
    """Open a recording and keep the rows that were asked for.

    Raises:
        Misuse: a condition that is not COLUMN=VALUE, or a value of another kind.
        RecordingError, NotFound: as of actlens.open and Recording.sel.
    """
    found = open_recording(run)
    wanted: dict[str, list[Any]] = {}
    for condition in where or ():
        name, equals, text = condition.partition("=")
        if not name or not equals:
            raise Misuse.where(condition)
        wanted.setdefault(name, []).append(_value(name, text, found.columns[name]))
    return found.sel(**wanted) if wanted else found


def steps_note(run: Recording) -> None:
    """Say on stderr that rows of several steps are together, where each sample should stand once."""
    count = len(set(run.columns.get("step", ())))
    if count > 1:
        typer.echo(f"note: rows of {count} steps together in {run.path}; --where step=… takes one", err=True)


def layer_of(
    run: Recording, name: str, *, flatten: bool = False, mean: bool = False, tokens: bool = False
) -> LayerArray:
    """Give a layer, flattened or averaged if asked; a choice that a layer of two axes does not need.

    Raises:
        Misuse: two choices at once; rows of different lengths, and neither their average nor their positions.
    """
    layer: LayerArray | RaggedArray = run[name]
    chosen = [option for option, given in _choices(flatten, mean, tokens) if given]
    if len(chosen) > 1:
        raise Misuse.both(*chosen[:2])
    if isinstance(layer, RaggedArray):
        if not (mean or tokens):
            raise Misuse.ragged(name, layer.axes[1])
        layer = layer.tokens if tokens else layer.mean()
    if flatten and layer.ndim > 2:
        return layer.flatten()
    positions = _positions(layer.axes) if mean else []
    return layer.mean(*positions) if positions else layer


def _choices(flatten: bool, mean: bool, tokens: bool) -> list[tuple[str, bool]]:
    return [("--flatten", flatten), ("--mean", mean), ("--tokens", tokens)]


def row_with_id(layer: LayerArray, given: str) -> int:
    """Give the number of the one row with an id."""
    rows = np.flatnonzero(np.array([str(ident) == given for ident in layer.ids.tolist()], bool))
    if len(rows) == 0:
        raise Misuse.no_id(given)
    if len(rows) > 1:
        raise Misuse.several(given, len(rows))
    return int(rows[0])


def _positions(axes: tuple[str, ...]) -> list[str]:
    """Name the axes that say where in a sample: all but the features, or all but the last."""
    rest = [axis for axis in axes[1:] if axis not in _FEATURES]
    return rest[:-1] if len(rest) == len(axes) - 1 else rest


def _value(name: str, text: str, column: npt.NDArray[Any]) -> Any:
    """Read a value as what the column holds."""
    kind = column.dtype.kind
    try:
        if kind == "b":
            return _BOOLEANS[text.lower()]
        if kind in "iu":
            return int(text)
        return float(text) if kind == "f" else text
    except (KeyError, ValueError) as error:
        raise Misuse.where_value(name, text, _KINDS[kind]) from error
