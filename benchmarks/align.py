"""How much motion each way of aligning invents, and how many neighbours it keeps.

    python benchmarks/align.py [--samples 3000] [--frames 5] [--umap]

Two sequences of (samples, 50): one where nothing changes but 2 % of jitter, one that changes from mixed to
clustered as a layer does in training. "invented" is the median motion between frames of the first, as a
share of the RMS radius; "stated" is what the Embedding says of it by itself (`z.alignment.noise_floor`);
"motion", "recall" (of 10 neighbours, mean over the frames and worst frame) and seconds are of the second.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import actlens
from actlens import reduce

Array = npt.NDArray[np.float32]

FEATURES, NEIGHBORS, QUERIES = 50, 10, 1000


@dataclasses.dataclass(frozen=True)
class Sequence:
    """The same samples in each frame (samples, features), and a recording of them by step."""

    frames: list[Array]
    layer: actlens.LayerArray

    @classmethod
    def recorded(cls, frames: list[Array], folder: Path) -> Sequence:
        with actlens.Recorder(folder) as rec:
            for step, x in enumerate(frames):
                rec.write({"layer": x}, id=np.arange(len(x)), step=step)
        return cls(frames, actlens.open(folder)["layer"])


def clustered(samples: int, rng: np.random.Generator) -> Array:
    """40 unequal clusters in 8 groups, and a curve of 15 % of the samples."""
    groups = rng.standard_normal((8, FEATURES)) * 4
    centres = groups[np.arange(40) % 8] + rng.standard_normal((40, FEATURES)) * 1.5
    weights = rng.dirichlet(np.full(40, 2.0))
    x = centres[rng.choice(40, samples, p=weights)] + rng.standard_normal((samples, FEATURES))
    on_curve = rng.random(samples) < 0.15
    along = rng.random(int(on_curve.sum())) * 6
    directions = rng.standard_normal((3, FEATURES))
    curve = np.stack([np.sin(along), np.cos(along), along / 3], axis=1) @ directions * 3
    x[on_curve] = curve + 0.3 * rng.standard_normal(curve.shape)
    return x


def sequences(samples: int, frames: int, folder: Path) -> tuple[Sequence, Sequence]:
    rng = np.random.default_rng(0)
    end = clustered(samples, rng)
    jitter = [end + 0.02 * end.std(axis=0) * rng.standard_normal(end.shape) for _ in range(frames)]
    start = rng.standard_normal(end.shape) * end.std(axis=0)  # another place for each sample
    shares = np.linspace(0.3, 1.0, frames)
    changing = [share * end + (1 - share) * start for share in shares]
    return (
        Sequence.recorded([x.astype("f4") for x in jitter], folder / "static"),
        Sequence.recorded([x.astype("f4") for x in changing], folder / "changing"),
    )


def nearest(points: Array, queries: Array) -> Array:
    squares = np.square(points.astype(np.float64)).sum(axis=1)
    distances = squares - 2 * points[queries].astype(np.float64) @ points.T.astype(np.float64)
    distances[np.arange(len(queries)), queries] = np.inf
    return np.argpartition(distances, NEIGHBORS, axis=1)[:, :NEIGHBORS]


def recalls(sequence: Sequence, points: Array) -> list[float]:
    """The share of the 10 nearest neighbours that are kept, of each frame."""
    shares = []
    for step, x in enumerate(sequence.frames):
        queries = np.random.default_rng(1).choice(len(x), min(QUERIES, len(x)), replace=False)
        true = nearest(x, queries)
        seen = nearest(points[step * len(x) : (step + 1) * len(x)], queries)
        kept = [len(np.intersect1d(a, b)) for a, b in zip(true, seen, strict=True)]
        shares.append(float(np.mean(kept)) / NEIGHBORS)
    return shares


def methods(*, umap: bool) -> Iterator[tuple[str, Callable[..., reduce.Embedding], dict[str, object]]]:
    yield "pca", reduce.pca, {"align": True}
    tsne = functools.partial(reduce.tsne, n_jobs=1)  # one thread: other jobs disturb it less
    for align in (True, False, "joint", "reference", "procrustes"):
        yield "tsne", tsne, {"align": align}
    yield "tsne, openTSNE", functools.partial(tsne, engine="openTSNE"), {"align": True}
    if umap:
        for align in (True, "joint", False):
            yield "umap", functools.partial(reduce.umap, n_jobs=1), {"align": align}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--umap", action="store_true", help="also UMAP, which compiles for a minute")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(asked.samples, asked.frames, Path(folder), umap=asked.umap)


def compare(samples: int, frames: int, folder: Path, *, umap: bool) -> None:
    static, changing = sequences(samples, frames, folder)
    print(f"{samples} samples × {FEATURES}, {frames} frames")
    print("| method | align | invented | stated | motion | recall, mean | recall, worst | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name, reducer, options in methods(umap=umap):
        still = reducer(static.layer, by="step", random_state=0, **options).alignment
        start = time.perf_counter()
        moving = reducer(changing.layer, by="step", random_state=0, **options)
        seconds = time.perf_counter() - start
        kept = recalls(changing, moving.points)
        print(
            f"| {name} | {options['align']} ({still.method}) | {np.median(still.residual_motion):.4f} | "
            f"{still.noise_floor:.4f} | {np.median(moving.alignment.residual_motion):.3f} | "
            f"{np.mean(kept):.3f} | {min(kept):.3f} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
