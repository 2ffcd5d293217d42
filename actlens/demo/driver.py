"""The demo from end to end: train, record every epoch, reduce, draw. No framework is named here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actlens import reduce
from actlens._record import record
from actlens.demo import digits, folder, picture_file
from actlens.demo.pictures import PICTURES, Material
from actlens.demo.problems import DemoError
from actlens.demo.protocol import Framework
from actlens.demo.protocol import framework as framework_of
from actlens.demo.summary import summary
from actlens.errors import MissingDependency
from actlens.recorder import Recorder
from actlens.recording import Recording
from actlens.recording import open as open_recording
from actlens.reduce import Embedding
from actlens.reduce.optional import has

Tell = Callable[[str], object]
_BATCH = 150
_NEEDS = (  # module, package, extra: asked for before the training, not after it
    ("sklearn", "scikit-learn", "look"),
    ("matplotlib", "matplotlib", "look"),
    ("openTSNE", "openTSNE", "look"),
    ("umap", "umap-learn", "look"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Demo:
    """What a demo made: `accuracies` maps epoch → share of held-out images named rightly."""

    out: Path
    run: Recording
    accuracies: dict[int, float]
    embeddings: dict[str, Embedding]
    files: dict[Path, str]
    seconds: dict[str, float]

    def __str__(self) -> str:
        return summary(self.run, self.accuracies, self.files, self.seconds)


def run_demo(
    out: str | Path,
    *,
    framework: str = "torch",
    epochs: int = 10,
    seed: int = 0,
    force: bool = False,
    tell: Tell = str,
) -> Demo:
    """Train a small network on handwritten digits, record three of its layers, reduce and draw them.

    Writes a recording (450 held-out images, the same at every epoch, epoch 0 being before training),
    three embeddings and eight pictures. `tell` is called with a line before each part.

    Raises:
        DemoError: an argument cannot be used; `out` holds files of a demo and `force` is not given.
        MissingDependency: the framework, matplotlib, scikit-learn, openTSNE or umap-learn is not installed.
        OSError: the disk refuses.
    """
    _check(epochs, seed)
    spoken = framework_of(framework)
    for module, package, extra in _NEEDS:
        _installed(module, package, extra)
    out = Path(out)
    training, held_out = digits.split(digits.load(), seed)
    folder.prepare(out, force=force)
    seconds: dict[str, float] = {}
    tell(f"training on {len(training)} digits, recording {len(held_out)} others at each of {epochs} epochs")
    with _timed(seconds, "train and record"):
        accuracies = _train_and_record(spoken, training, held_out, out / folder.RUN, epochs=epochs, seed=seed)
    run = open_recording(out / folder.RUN)
    late = run.sel(step=epochs)
    embeddings = _reduce(late, spoken.LAYERS[-1], seconds, tell)
    for method in ("pca", "tsne", "umap"):
        embeddings[method].save(out / f"{method}.safetensors")
    shown = held_out.images[held_out.ids == late.ids[0]][0]
    material = Material(run, late, spoken.LAYERS, embeddings, accuracies, shown)
    tell(f"drawing into {out}")
    with _timed(seconds, "pictures"):
        for name, picture in PICTURES.items():
            picture_file.save(picture(material), out / name)
    first, middle, last = spoken.LAYERS
    files = {
        out / name: shows.format(first=first, middle=middle, last=last)
        for name, shows in folder.SHOWN.items()
    }
    return Demo(out, run, accuracies, embeddings, files, seconds)


def _train_and_record(
    spoken: Framework,
    training: digits.Digits,
    held_out: digits.Digits,
    path: Path,
    *,
    epochs: int,
    seed: int,
) -> dict[int, float]:
    """Record the held-out images at every epoch into one recording; give epoch → accuracy on them."""
    images = spoken.layout(held_out.images)
    batches = [
        (images[at : at + _BATCH], held_out.ids[at : at + _BATCH], held_out.labels[at : at + _BATCH])
        for at in range(0, len(held_out), _BATCH)
    ]
    accuracies = {}
    with Recorder(path) as rec:
        for epoch, model in spoken.train(training.images, training.labels, epochs=epochs, seed=seed):
            record(
                model,
                batches,
                rec,
                layers=list(spoken.LAYERS),
                columns=["id", "label"],
                step=epoch,
                progress=False,
            )
            accuracies[epoch] = spoken.accuracy(model, held_out.images, held_out.labels)
    return accuracies


def _reduce(late: Recording, layer: str, seconds: dict[str, float], tell: Tell) -> dict[str, Embedding]:
    """Reduce the last hidden layer at the last epoch by each method."""
    tell(f"reducing {layer}: PCA, t-SNE and UMAP (UMAP compiles for about half a minute)")
    embeddings = {}
    with _timed(seconds, "PCA"):
        embeddings["pca"] = reduce.pca(late[layer], n_components=2)
        embeddings["scree"] = reduce.pca(late[layer], n_components=20)
    with _timed(seconds, "t-SNE"):
        embeddings["tsne"] = reduce.tsne(late[layer], random_state=0)
    with _timed(seconds, "UMAP"):
        embeddings["umap"] = reduce.umap(late[layer], random_state=0)
    return embeddings


def _check(epochs: int, seed: int) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 1 <= epochs <= 1000:
        raise DemoError.epochs(epochs)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise DemoError.seed(seed)


def _installed(module: str, package: str, extra: str) -> None:
    if not has(module):
        raise MissingDependency.for_feature("the demo", package, extra)


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - start
