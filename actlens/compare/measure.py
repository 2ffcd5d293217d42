"""What a measure is: a name, what it needs of two layers, how its values read, and its options."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from actlens.errors import CompareError

if TYPE_CHECKING:
    from actlens.compare.cells import Cells
    from actlens.compare.joining import Joined
    from actlens.compare.products import Products
    from actlens.compare.sums import Sums

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A way to say how alike two layers are; call it on two arrays, or give it to `compare.matrix`.

    >>> import numpy as np
    >>> from actlens import compare
    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> round(compare.cka(x, 3 * x + 1), 9)
    1.0
    >>> compare.cka.with_options(debiased=False)
    CKA(debiased=False, kernel='linear', bandwidth=1.0)
    """

    name: ClassVar[str]
    similarity: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    rotates: ClassVar[bool] = True  # a rotation of the units of either layer changes nothing

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return self.name

    @property
    def needs(self) -> str:
        """Say what it is computed from.

        "products" of Gram matrices; "moments", which are covariances too; or "rows", all of them in memory.
        """
        raise NotImplementedError

    @property
    def signed(self) -> bool:
        """Whether values below 0 mean something, as of a correlation."""
        return False

    def with_options(self, **options: Any) -> Self:
        """Give the same measure with other options.

        Raises:
            CompareError: an option that it does not have, or a value that it does not take.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for option in options:
            if option not in known:
                raise CompareError.no_option(self.name, option, known)
        return dataclasses.replace(self, **options)

    def __call__(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Compare two arrays of the same rows: (samples, features_x) and (samples, features_y).

        NaN where it cannot be said; `compare.matrix` tells why.

        Raises:
            CompareError: other numbers of rows, fewer than 4, NaN, or more than two axes.
        """
        from actlens.compare.matrix import matrix

        found = matrix({"x": x}, {"y": y}, measure=self)
        return float(found.values[0, 0])

    def options(self) -> dict[str, Any]:
        """Give the options and their values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def of_products(self, products: Products) -> Cells:
        """Give the values from inner products of Gram matrices."""
        raise NotImplementedError

    def of_moments(self, sums: Sums) -> Cells:
        """Give the values from moments."""
        raise NotImplementedError

    def of_rows(self, joined: Joined, feature: str) -> Cells:
        """Give the values from all rows."""
        raise NotImplementedError

    def allowed(self, option: str, choices: tuple[Any, ...]) -> None:
        """Refuse a value that is none of the choices."""
        if getattr(self, option) not in choices:
            raise CompareError.option(self.name, option, getattr(self, option), ", ".join(map(repr, choices)))

    def number(self, option: str, *, above: float, to: float = np.inf) -> None:
        """Refuse what is no number in (above, to]."""
        value = getattr(self, option)
        fits = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not fits or not above < value <= to:
            end = "" if to == np.inf else f" and at most {to:g}"
            raise CompareError.option(self.name, option, value, f"a number above {above:g}{end}")

    def whole(self, option: str, *, least: int) -> None:
        """Refuse what is no whole number of at least so much."""
        value = getattr(self, option)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise CompareError.option(self.name, option, value, f"a whole number of at least {least}")
