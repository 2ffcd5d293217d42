"""What is known of the classes of a layer's samples: a part of LayerStats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from actlens.errors import StatisticsError

if TYPE_CHECKING:
    from actlens.statistics.class_sums import ClassSums
    from actlens.statistics.state import LayerState

Array = npt.NDArray[Any]


class ClassFigures:
    """Class means and selectivity, of a layer that was read with `labels=`."""

    name: str
    _state: LayerState

    @property
    def labelled(self) -> bool:
        """Whether there are classes."""
        return self._state.classes is not None

    def _classes(self, what: str) -> ClassSums:
        if self._state.classes is None:
            raise StatisticsError.no_labels(self.name, what)
        return self._state.classes

    @property
    def classes(self) -> Array:
        """(classes,): the labels, sorted.

        Raises:
            StatisticsError: there are no labels, as of all that follows.
        """
        return self._classes("classes").names

    @property
    def class_means(self) -> Array:
        """(classes, units)."""
        return self._classes("class_means").means()

    @property
    def selectivity(self) -> Array:
        """(μ_max − μ_rest) / (μ_max + μ_rest) (Morcos et al. 2018); NaN where a class mean is negative."""
        return self._classes("selectivity").selectivity()

    @property
    def eta_squared(self) -> Array:
        """The share of a unit's variance that is between classes, 0 to 1; NaN for a constant."""
        return self._classes("eta_squared").explained(self._state.powers.mean, self._state.powers.m2)

    @property
    def best_class(self) -> Array:
        """The label with the largest mean."""
        return self._classes("best_class").best()
