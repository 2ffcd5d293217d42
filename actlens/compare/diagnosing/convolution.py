"""A convolution whose kernel is that of the other side at another place: padded elsewhere, flipped,
transposed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, Values, relative
from actlens.compare.diagnosing.linear import Moments, about_the_mean, fitted, needed, outputs_of
from actlens.compare.diagnosing.windows import Steps, steps_of, windows
from actlens.compare.layer_diff import evenly

Array = npt.NDArray[Any]

_POSITIONS = ("height", "width", "time", "depth")
_REACH = (1, 2, 3)  # places on each side of an output that a kernel may read: 3, 5 or 7 in all
_MOST_WEIGHTS = 1200  # of one output
_ROWS_EACH = 3  # windows for each weight
_LOOSELY = (
    0.5  # of the difference: what the kernel of one side alone must explain of the other, to be looked at
)
_ALIKE = (0.05, 0.15)  # of the deviation: how near means and deviations of channels are if only places differ
_DIFFERENT = 0.1  # relative: at least so far are values of other places
_TOLD_APART = 0.25  # of the spread of the means over the channels


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Kernel:
    """Where a kernel reads: its taps (height, width), and in which order of the channels."""

    taps: tuple[Array, Array]
    exchanged: bool = False  # height and width of the kernel
    reversed: bool = False  # the channels

    def read(self, x: Array, steps: tuple[Steps, Steps], out: tuple[int, int]) -> Array:
        """Give (windows, weights)."""
        seen = windows(x[..., ::-1] if self.reversed else x, steps, self.taps, out)
        seen = seen.transpose(0, 1, 2, 4, 3, 5) if self.exchanged else seen
        return seen.reshape(-1, seen.shape[3] * seen.shape[4] * seen.shape[5])


def convolution(evidence: Evidence) -> Diagnosis | None:
    """Fit the kernel of both sides at once, that of b at another place or turned around."""
    images = _images(evidence)
    if images is None:
        return None
    x_a, _, y_a, _ = images
    for each in itertools.product(steps_of(x_a.shape[1], y_a.shape[1]), steps_of(x_a.shape[2], y_a.shape[2])):
        for reach in _REACH:
            taps = tuple(_taps(size, reach) for size in x_a.shape[1:3])
            weights = len(taps[0]) * len(taps[1]) * x_a.shape[3]
            samples = -(-_ROWS_EACH * weights // (y_a.shape[1] * y_a.shape[2]))
            rows = evenly(len(x_a), samples)
            equations = len(rows) * y_a.shape[1] * y_a.shape[2]
            if weights > _MOST_WEIGHTS or equations < needed(weights):
                break
            some = tuple(values[rows] for values in images)
            found, fits = _turned(evidence, some, each, (taps[0], taps[1]))
            if found is not None:
                return found
            if fits:
                break
    return None


def _turned(
    evidence: Evidence, images: tuple[Array, ...], steps: tuple[Steps, Steps], taps: tuple[Array, Array]
) -> tuple[Diagnosis | None, bool]:
    """Fit side a, and where that is a convolution of this reach, b in each way; give what was found, and
    whether.
    """
    x_a, x_b, y_a, y_b = images
    out = (y_a.shape[1], y_a.shape[2])
    y_a, y_b = about_the_mean(*(outputs_of(side.reshape(-1, side.shape[-1])) for side in (y_a, y_b)))
    z_a = _Kernel(taps).read(x_a, steps, out)
    a = Moments.of(z_a, y_a)
    alone = fitted(a)
    if relative(alone(z_a), y_a) > evidence.tolerance:
        return None, False
    apart = relative(y_a, y_b)
    for text, kernel in _ways(steps, taps, x_a.shape[3]):
        z_b = kernel.read(x_b, steps, out)
        if relative(alone(z_b), y_b) > _LOOSELY * apart:
            continue
        both = fitted(a, Moments.of(z_b, y_b))
        if relative(both(z_a), y_a) > evidence.tolerance:
            continue
        left = evidence.explained(both(z_b), y_b, instead=y_a)
        if left is not None:
            return Diagnosis(text, left), True
    return None, True


def _ways(
    steps: tuple[Steps, Steps], taps: tuple[Array, Array], channels: int
) -> Iterator[tuple[str, _Kernel]]:
    """Give what may be wrong with the kernel of b, and where it then reads."""
    flat = [len(each) == 1 for each in taps]
    moves = [(0,) if one else (-1, 0, 1) for one in flat]
    for down, right in sorted(itertools.product(*moves), key=lambda move: (-sum(move), move)):
        if down or right:
            yield _padding(steps, down, right), _Kernel((taps[0] + down, taps[1] + right))
    for down, right in sorted(
        itertools.product(*moves), key=lambda move: (abs(move[0]) + abs(move[1]), move)
    ):
        turned = (taps[0] if flat[0] else down - taps[0], taps[1] if flat[1] else right - taps[1])
        yield (
            "kernel flipped: the kernel of b is that of a upside down and back to front. A transposed "
            "convolution flips it in PyTorch and Keras, in Flax only with transpose_kernel=True",
            _Kernel(turned),
        )
    if len(taps[0]) == len(taps[1]) > 1:
        yield (
            "kernel transposed: height and width of the kernel are exchanged in b",
            _Kernel(taps, exchanged=True),
        )
    if channels > 1:
        yield (
            "the kernel of b meets the channels of its input from the end: look for RGB on one side and "
            "BGR on the other",
            _Kernel(taps, reversed=True),
        )


def _padding(steps: tuple[Steps, Steps], down: int, right: int) -> str:
    ways = [
        f"{abs(move)} {words[move > 0]}"
        for move, words in ((down, ("up", "down")), (right, ("left", "right")))
        if move
    ]
    strided = any(each.stride > 1 for each in steps)
    same = (
        "'SAME' at stride 2 pads an even size by 0 before and 1 behind, PyTorch's padding=1 by 1 and 1"
        if strided
        else "'SAME' pads the odd one of an even kernel behind, other frameworks may pad it before"
    )
    return (
        f"SAME padding: the kernel of b reads its input {' and '.join(ways)} of where that of a does. "
        f"{same}: give the numbers"
    )


def _images(evidence: Evidence) -> tuple[Array, ...] | None:
    """Give input and output of both sides as (samples, height, width, channels); of sequences the height
    is 1.
    """
    x = evidence.x
    if x is None or x.a.shape != x.b.shape:
        return None
    if x.a.ndim != evidence.a.ndim or x.a.ndim not in {3, 4}:
        return None
    sides = (x.a, x.b, evidence.a, evidence.b)
    return tuple(side[:, None] for side in sides) if x.a.ndim == 3 else sides


def _taps(size: int, reach: int) -> Array:
    return np.arange(-reach, reach + 1) if size > 1 else np.zeros(1, np.int64)


def elsewhere(evidence: Evidence) -> Diagnosis | None:
    """Say what is likely of a convolution without its input: channels are alike, and places differ."""
    layer = evidence.layer
    positions = [axis for axis in layer.axes[:-1] if axis in _POSITIONS]
    if evidence.x is not None or not positions:
        return None
    if not any("conv" in kind.lower() for kind in evidence.kinds):
        return None
    if relative(evidence.a, evidence.b) < _DIFFERENT or not _alike(layer):
        return None
    return Diagnosis(
        "the kernel is the same and reads other places: the mean and the deviation of each channel agree, "
        "the values do not. Look at the padding ('SAME' at stride 2 pads an even size by 0 before and 1 "
        "behind, where padding=1 pads 1 and 1), and at a kernel that is flipped or transposed. Record the "
        f"input on both sides to be sure: layers=[…, '{evidence.input_name}']"
    )


def _alike(layer: Values) -> bool:
    """Say whether channels have the same mean and deviation, and could be told apart by the mean; without
    borders.
    """
    inner = tuple(slice(1, -1) if size > 2 else slice(None) for size in layer.a.shape[1:-1])
    a, b = (side[(slice(None), *inner)].reshape(-1, side.shape[-1]) for side in (layer.a, layer.b))
    mean, deviation = a.mean(axis=0), a.std(axis=0)
    apart = np.abs(mean - b.mean(axis=0))
    bound = min(_ALIKE[1], max(_ALIKE[0], 4 * np.sqrt(2 / len(a)))) * deviation
    alike = (apart <= bound) & (np.abs(deviation - b.std(axis=0)) <= bound)
    return bool(alike.all() and np.sqrt((apart**2).mean()) < _TOLD_APART * mean.std())
