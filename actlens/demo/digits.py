"""The demo's data: 1,797 real handwritten digits of 8×8 pixels, that come with scikit-learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from actlens.reduce.optional import need

HELD_OUT = 450
_LEVELS = 16.0  # a pixel counts how many of 16 dots are inked


@dataclasses.dataclass(frozen=True, eq=False)
class Digits:
    """Images (samples, 8, 8) in 0…1, labels and ids (samples,); an id is the index in scikit-learn's set."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> Digits:
        """Give some rows, in the order given."""
        return Digits(self.images[rows], self.labels[rows], self.ids[rows])


def load() -> Digits:
    """Read all images. Raises MissingDependency without scikit-learn."""
    datasets = need("sklearn.datasets", feature="the demo", package="scikit-learn", extra="look")
    bunch = datasets.load_digits()
    images = np.asarray(bunch.images / _LEVELS, dtype=np.float32)
    return Digits(images, np.asarray(bunch.target, dtype=np.int64), np.arange(len(images), dtype=np.int64))


def split(digits: Digits, seed: int) -> tuple[Digits, Digits]:
    """Give (training images, 450 held-out images), each digit in the same share; the ids rise in both.

    Numpy alone decides, from the seed, so that every framework's demo looks at the same samples.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(digits))
    # Within each digit the shuffled images get evenly spaced ranks; the lowest 450 ranks are held out.
    rank = np.empty(len(digits))
    for digit in np.unique(digits.labels):
        rows = shuffled[digits.labels[shuffled] == digit]
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    held_out = np.zeros(len(digits), bool)
    held_out[np.argsort(rank, kind="stable")[:HELD_OUT]] = True
    return digits.take(np.flatnonzero(~held_out)), digits.take(np.flatnonzero(held_out))
