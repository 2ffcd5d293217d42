"""`Alignment`: which frames an Embedding holds, and how much of the motion between them is invented."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from actlens.errors import AlignmentError


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How the frames of one Embedding were brought into one picture.

    >>> Alignment("step", (0, 10, 20), "warm", (0.31, 0.12), 0.01)
    Alignment(step 0 … 20 · 3 frames · warm · motion 0.12 to 0.31, 0.01 where nothing changed)

    Attributes
    ----------
    by, frames
        The column, and its values in the order of the frames.
    method
        "warm", "joint", "reference", "procrustes", "aligned-umap"; "none": fitted apart, not comparable.
    residual_motion
        (frames − 1,): from each frame to the next, the median distance that the samples in both move, as a
        share of the RMS radius of the points.
    noise_floor
        The same for a copy of the last frame in which nothing changed but 2 % of jitter: motion up to here
        is made by the method, not by the layer.
    """

    by: str
    frames: tuple[Any, ...]
    method: str
    residual_motion: tuple[float, ...]
    noise_floor: float

    def __post_init__(self) -> None:
        if len(self.residual_motion) != len(self.frames) - 1:
            count = max(0, len(self.frames) - 1)
            raise AlignmentError.wrong_part(
                "residual_motion", f"of {len(self.residual_motion)} values", f"{count}, one between frames"
            )

    def __repr__(self) -> str:
        low, high = min(self.residual_motion), max(self.residual_motion)
        motion = f"{low:.2g} to {high:.2g}" if low < high else f"{low:.2g}"
        return (
            f"Alignment({self.by} {self.frames[0]} … {self.frames[-1]} · {len(self.frames)} frames · "
            f"{self.method} · motion {motion}, {self.noise_floor:.2g} where nothing changed)"
        )

    @classmethod
    def from_plain(cls, given: object) -> Alignment:
        """Read its fields out of a file that may hold anything. Raises AlignmentError."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(given, dict) or set(given) != names:
            raise AlignmentError.wrong_part("it", "no such object", f"one with {', '.join(sorted(names))}")
        for name in ("by", "method"):
            if not isinstance(given[name], str):
                raise AlignmentError.wrong_part(name, type(given[name]).__name__, "text")
        frames, motion, floor = given["frames"], given["residual_motion"], given["noise_floor"]
        if not isinstance(frames, list) or not all(isinstance(v, (str, int, float)) for v in frames):
            raise AlignmentError.wrong_part("frames", "something else", "a list of numbers or texts")
        if not isinstance(motion, list) or len(motion) < 1 or not all(map(_is_share, [*motion, floor])):
            raise AlignmentError.wrong_part(
                "residual_motion or noise_floor", "something else", "finite numbers ≥ 0, at least one motion"
            )
        return cls(given["by"], tuple(frames), given["method"], tuple(map(float, motion)), float(floor))


def _is_share(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < math.inf  # type: ignore[operator]
