"""The table of one model: medians, and ratios taken within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable

Figures = dict[str, float]


def show(seen: dict[str, dict[int, Figures]], hand: str) -> None:
    """Print a line for each method that ran; `hand` is the one that the ratios are to."""
    columns = ["means", "wall s", "CPU s", "× bare", f"× {hand}", f"steady × {hand}"]
    columns += ["first batch s", "compiled", "peak MiB", "disk MiB"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for method, results in seen.items():
        if results:
            cells = [method, f"{_middle(results, _wall):.2f}", f"{_middle(results, _cpu):.2f}"]
            cells += [_ratio(results, seen.get(base, {}), _wall) for base in ("bare", hand)]
            cells += [_ratio(results, seen.get(hand, {}), _steady), f"{_middle(results, _first):.2f}"]
            cells += [_compiled(results), *(f"{_middle(results, of(key)):.0f}" for key in ("peak", "disk"))]
            print(f"| {' | '.join(cells)} |", flush=True)


def of(key: str) -> Callable[[Figures], float]:
    return lambda figures: figures[key]


_wall, _steady, _cpu = of("wall"), of("steady"), of("cpu")


def _first(figures: Figures) -> float:
    return figures["wall"] - figures["steady"]


def _middle(results: dict[int, Figures], what: Callable[[Figures], float]) -> float:
    return statistics.median(what(figures) for figures in results.values())


def _ratio(results: dict[int, Figures], base: dict[int, Figures], what: Callable[[Figures], float]) -> str:
    """Give the median of the ratios, round by round."""
    pairs = [what(results[n]) / what(base[n]) for n in results.keys() & base.keys()]
    return f"{statistics.median(pairs):.2f}" if pairs else "–"


def _compiled(results: dict[int, Figures]) -> str:
    """Give the highest count, which must not be hidden by a median, and the seconds it took."""
    count = max(figures["compiled"] for figures in results.values())
    return f"{count} ({_middle(results, of('compiling')):.2f} s)" if count else "0"
