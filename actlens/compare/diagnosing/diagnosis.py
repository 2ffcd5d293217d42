"""What is wrong with a layer, in a sentence, and whether that was confirmed by the numbers."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """One mistake, and how sure it is.

    Attributes:
        text: a sentence.
        left: what it leaves of the difference, |b − explained| / |b|; None of what is only likely.
    """

    text: str
    left: float | None = None

    @property
    def sure(self) -> bool:
        """Whether it was tried and explains the difference."""
        return self.left is not None

    def __str__(self) -> str:
        if self.left is None:
            return f"likely {self.text}"
        return f"{self.text} (confirmed: what is left of b is {self.left:.1g})"
