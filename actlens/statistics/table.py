"""One line of figures for a layer, for a terminal and for pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.layer_stats import LayerStats
from actlens.table import text_table

Array = npt.NDArray[Any]

_HEADER = (
    "layer", "group", "rows", "units", "unit", "mean", "std", "min", "max", "zeros", "dead", "saturated",
    "NaN", "inf", "kurtosis", "norm", "rank", "selectivity", "η²",
)  # fmt: skip


def line_of(layer: LayerStats) -> dict[str, Any]:
    """Give the figures of a layer by name: numbers, of all its values together."""
    whole, count = layer.pooled, max(int(layer.count.sum()), 1)
    some = bool(layer.count.any())
    return {
        "layer": layer.name,
        "row": layer.row,
        "rows": layer.rows,
        "units": layer.units.count,
        "unit": layer.units.text(),
        "mean": float(whole.mean[0]) if some else np.nan,
        "std": float(np.sqrt(whole.variance()[0])),
        "min": float(np.nanmin(layer.min)) if some else np.nan,
        "max": float(np.nanmax(layer.max)) if some else np.nan,
        "zeros": float(np.nansum(layer.zeros * layer.count)) / count,
        "dead": int(layer.dead.sum()),
        "constant": int(layer.constant.sum()),
        "saturated": int(layer.saturated.sum()),
        "nan": int(layer.nan.sum()),
        "inf": int(layer.inf.sum()),
        "kurtosis": float(whole.kurtosis()[0]),
        "norm": layer.norm["mean"],
        "effective_rank": layer.effective_rank,
        "entropy_rank": layer.entropy_rank,
        "selectivity": _mean(layer.selectivity) if layer.labelled else np.nan,
        "eta_squared": _mean(layer.eta_squared) if layer.labelled else np.nan,
    }


def table_of(layers: Sequence[tuple[str, LayerStats]]) -> str:
    """Align the figures of layers, each with the name of its group; what is estimated has a ≈."""
    return text_table(_HEADER, [_cells(group, layer) for group, layer in layers])


def _cells(group: str, layer: LayerStats) -> list[str]:
    line = line_of(layer)
    about = "≈" if layer.rank_every > 1 else ""
    return [
        layer.name,
        group,
        f"{layer.rows:,} {layer.row}{'s' * (layer.rows != 1)}",
        f"{line['units']:,}",
        line["unit"],
        *(_number(line[key]) for key in ("mean", "std", "min", "max")),
        f"{line['zeros']:.1%}".replace("%", " %"),
        *(f"{line[key]:,}" for key in ("dead", "saturated", "nan", "inf")),
        _number(line["kurtosis"], 3),
        _number(line["norm"]),
        about + _number(line["effective_rank"], 3) if layer.rank_every else "–",
        *(_number(line[key], 3) if layer.labelled else "" for key in ("selectivity", "eta_squared")),
    ]


def _mean(values: Array) -> float:
    """Give the mean of the units that have the figure; NaN where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _number(value: float, digits: int = 4) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}g}"
