"""The demo's folder: which files are ours, and how they make room for new ones. No other file is touched."""

from __future__ import annotations

from pathlib import Path

from actlens.demo.problems import DemoError
from actlens.format.commit import TEMPORARY
from actlens.format.place import MANIFEST, SHARD, SHARDS, WRITER

RUN = "run"
SHOWN = {  # file → what it shows, in the order of the table; {last} and {first} are layers
    "pca.png": "PCA of {last}, coloured by digit",
    "tsne.png": "t-SNE of {last}",
    "umap.png": "UMAP of {last}",
    "epochs.png": "{last} while it learns, in the axes of one PCA",
    "scree.png": "variance that each component of {last} explains",
    "heatmap.png": "{last}: samples × units, sorted by digit",
    "one_sample.png": "{middle} for one sample: channels × positions",
    "feature_maps.png": "{first} for the same sample, beside its image",
    "pca.safetensors": "the PCA, to load and transform with",
    "tsne.safetensors": "the t-SNE, with ids and labels",
    "umap.safetensors": "the UMAP, with ids and labels",
}


def prepare(out: Path, *, force: bool) -> None:
    """Make the folder, free of what the demo will write.

    Raises:
        DemoError: it is a file; it holds our files and `force` is not given; `run` holds foreign ones.
        OSError: it cannot be made or emptied.
    """
    if out.exists() and not out.is_dir():
        raise DemoError.not_a_folder(out)
    there = [name for name in [RUN, *SHOWN] if (out / name).exists() or (out / name).is_symlink()]
    if there and not force:
        raise DemoError.exists(out, there)
    if RUN in there:
        _remove_recording(out / RUN)
    for name in there:
        if name != RUN:
            (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)


def _remove_recording(run: Path) -> None:
    """Delete a recording file by file; refuse before the first if anything else lies there."""
    if run.is_symlink() or not run.is_dir():
        raise DemoError.not_ours(run, ["not a folder"])
    entries = sorted(run.rglob("*"))
    foreign = [str(entry.relative_to(run)) for entry in entries if not _ours(entry, run)]
    if foreign:
        raise DemoError.not_ours(run, foreign[:5])
    for entry in reversed(entries):  # what is inside a folder comes before it
        if entry.is_dir():
            entry.rmdir()
        else:
            entry.unlink()
    run.rmdir()


def _ours(entry: Path, run: Path) -> bool:
    """Say whether the name is one that the format gives, at its place."""
    if entry.is_symlink():
        return False
    parts = entry.relative_to(run).parts
    if entry.is_dir():
        return parts[0] == SHARDS and len(parts) <= 2 and all(WRITER.fullmatch(part) for part in parts[1:])
    if entry.name.startswith(TEMPORARY):  # a writer was killed
        return True
    in_place = len(parts) == 3 and parts[0] == SHARDS and WRITER.fullmatch(parts[1])
    return parts == (MANIFEST,) or (bool(in_place) and SHARD.fullmatch(parts[2]) is not None)
