"""Sentences on what looks broken in a layer: each with a threshold, and none where all is well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from actlens.errors._base import listed
from actlens.statistics.layer_stats import LayerStats
from actlens.statistics.spread import MOST_UNITS
from actlens.table import printable

DOMINANT = 0.5  # of the variance in one unit, of a layer of at least FEW units
SATURATED = 0.25  # of the values at one bound
EQUAL = 0.9999  # |r| of two units that are the same
LOW_RANK = 0.05  # effective rank over units (or rows, where they are fewer), of at least FEW of both
HEAVY = 1000.0  # excess kurtosis of all values: single values far beyond the rest
FEW = 16
_NAMED = 6  # units in a sentence


def problems_of(layer: LayerStats) -> list[str]:
    """Say what looks broken in one layer."""
    name = printable(layer.name)
    return [f"{name}: {text}" for finder in _FINDERS for text in finder(layer)]


def _not_finite(layer: LayerStats) -> Iterator[str]:
    found = [(int(counts.sum()), what) for what, counts in (("NaN", layer.nan), ("inf", layer.inf))]
    said = [
        f"{count:,} {'value is' if count == 1 else 'values are'} {what}" for count, what in found if count
    ]
    if said:
        rows = f"{layer.bad_rows:,} {_plural(layer.row, layer.bad_rows)}"
        yield f"{' and '.join(said)}, in {rows}, first in ids {listed(layer.bad_ids[:_NAMED].tolist())}"


def _dead(layer: LayerStats) -> Iterator[str]:
    dead, constant = int(layer.dead.sum()), layer.constant & ~layer.dead
    if dead:
        yield f"{dead:,} of {_units(layer.units.count)} {_are(dead)} dead (0 for every {layer.row})"
    if constant.any() and layer.rows > 1:
        found = int(constant.sum())
        yield f"{found:,} of {_units(layer.units.count)} {_are(found)} constant: {_named(layer, constant)}"


def _saturated(layer: LayerStats) -> Iterator[str]:
    total = max(int(layer.count.sum()), 1)
    sides = zip(("lower", "upper"), layer.bounds, (layer.at_lower, layer.at_upper), strict=True)
    for side, bound, share in sides:
        whole = float((share * layer.count).sum()) / total
        if bound is not None and whole > SATURATED and not layer.constant.all():
            yield f"{_percent(whole)} of values at the {side} bound {bound:g}"


def _dominant(layer: LayerStats) -> Iterator[str]:
    variance = np.nan_to_num(layer.variance, nan=0.0, posinf=0.0)
    total = float(variance.sum())
    if layer.units.count >= FEW and layer.rows > 1 and 0 < total < np.inf:
        largest = int(variance.argmax())
        if variance[largest] > DOMINANT * total:
            share = _percent(float(variance[largest]) / total)
            yield f"one unit ({layer.units.named(largest)}) carries {share} of the variance"


def _heavy(layer: LayerStats) -> Iterator[str]:
    kurtosis = float(layer.pooled.kurtosis()[0])
    if HEAVY < kurtosis < np.inf:
        size = np.nanmax(np.maximum(np.abs(layer.min), np.abs(layer.max)))
        yield f"single values are far beyond the rest (kurtosis {kurtosis:,.0f}, largest {size:.4g})"


def _equal(layer: LayerStats) -> Iterator[str]:
    if layer.units.count > MOST_UNITS or not layer.rank_every or layer.rows < FEW:
        return
    most = layer.correlated()
    pairs = [pair for pair in most if abs(pair[2]) >= EQUAL]
    if len(pairs) == 1:
        a, b, r = pairs[0]
        yield f"two units move together (r = {r:.3f}): {layer.units.named(a)} and {layer.units.named(b)}"
    elif pairs:
        some = listed(f"{layer.units.named(a)} and {layer.units.named(b)}" for a, b, _ in pairs[:3])
        more = "at least " if len(pairs) == len(most) else ""
        yield f"{more}{len(pairs)} pairs of units move together (|r| ≥ {EQUAL}), as {some}"


def _low_rank(layer: LayerStats) -> Iterator[str]:
    most = min(layer.units.count, layer.rows)
    if most >= FEW and layer.effective_rank < LOW_RANK * most:
        about = "about " if layer.rank_every > 1 else ""
        yield f"effective rank {about}{layer.effective_rank:.1f} of {most:,}"


_FINDERS = (_not_finite, _dead, _saturated, _dominant, _heavy, _equal, _low_rank)


def _named(layer: LayerStats, which: np.typing.NDArray[np.bool_]) -> str:
    units = np.flatnonzero(which)
    more = f", … and {len(units) - _NAMED} more" if len(units) > _NAMED else ""
    return ", ".join(layer.units.named(int(unit)) for unit in units[:_NAMED]) + more


def _units(count: int) -> str:
    return f"{count:,} {_plural('unit', count)}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _percent(share: float) -> str:
    """Give a share as a person reads it: what is not all is never 100 %."""
    return (
        f"{share:.0%}".replace("%", " %")
        if share == 1 or share < 0.995
        else f"{min(share, 0.999):.1%}".replace("%", " %")
    )
