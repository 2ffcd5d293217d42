"""`actlens info`: what there is in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from actlens.cli.options import Run

if TYPE_CHECKING:
    from actlens.recording import Recording

_LONGEST = 60  # of names of layers out of a file
_FEW = 10  # values that are shown each; of more, the first and the last


def info(run: Run) -> None:
    """Show what a recording holds. Its layers, its columns, and where they came from."""
    from actlens.recording import open as open_recording

    typer.echo(_text(open_recording(run)))


def _text(run: Recording) -> str:
    from actlens.table import bytes_text, text_table

    about = _origin(run.info) + _stored(run)
    columns = [(name, *_described(values)) for name, values in run.columns.items()]
    header = ["layer", "type", "shape", "dtype", "axes", "bytes/sample"]
    derived = [
        (one.kind, _short(one.layers), one.summary, bytes_text(one.bytes), one.created[:25], one.state)
        for one in run.derived()
    ]
    results = ["derived", "layer", "parameters", "size", "created", "state"]
    return "\n".join(
        [
            _headline(run),
            "",
            text_table(about[0], about[1:]),
            "",
            text_table(header, [(key, *_layer(layer)) for key, layer in run.items()]),
            "",
            text_table(["column", "dtype", "different", "values"], columns),
            *(["", text_table(results, derived)] if derived else []),
        ]
    )


def _short(layers: Sequence[str]) -> str:
    """Name the layers that a file says it is of, in no more than a line."""
    text = ", ".join(layers)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _layer(layer: Any) -> tuple[str, str, str, str, str]:
    """Describe a layer; of ragged rows, by the range of their lengths, and the bytes of an average one."""
    from math import prod

    from actlens.table import bytes_text

    sizes, per_sample = [str(size) for size in layer.shape], layer.dtype.itemsize
    if layer.shape[1:2] == (None,):
        lengths = layer.lengths if len(layer) else [0]
        low, high = min(lengths), max(lengths)
        sizes[1] = str(low) if low == high else f"({low} to {high})"
        per_sample *= sum(lengths) / len(lengths)
    per_sample *= prod(size for size in layer.shape[1:] if size is not None)
    return layer.type, "×".join(sizes), layer.dtype.name, " ".join(layer.axes), bytes_text(per_sample)


def _stored(run: Recording) -> list[tuple[str, str]]:
    """Say how it is stored: by how many writers, what they had twice, what was lost, what dead ones left."""
    from actlens.recording import place_of
    from actlens.table import bytes_text
    from actlens.upkeep.surroundings import orphans

    about = run.info
    rows = [("writers", str(about["writers"]))]
    if about["duplicates"]:
        rows.append(("duplicates", f"{about['duplicates']:,} rows that an earlier writer has, left out"))
    if about["lost"]:
        rows.append(
            (
                "lost",
                f"{_counted(len(about['lost']), 'shard')} given up by a repair: {', '.join(about['lost'])}",
            )
        )
    left = orphans(place_of(run.path))
    if left:
        size = bytes_text(sum(one.bytes for one in left))
        rows.append(
            ("orphans", f"{_counted(len(left), 'temporary file')} of dead writers, {size} (see: actlens gc)")
        )
    return rows


def _headline(run: Recording) -> str:
    from actlens.table import bytes_text, printable

    about = run.info
    shards = _counted(about["shards"], "shard")
    end = "sealed" if about["sealed"] else "not sealed: still being written, or its writer was stopped"
    rows = f"{run.rows:,} rows × {_counted(len(run), 'layer')}"
    return f"{printable(run.path)}: {rows}, {bytes_text(about['bytes'])} in {shards}, {end}"


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _origin(about: dict[str, Any]) -> list[tuple[str, str]]:
    model = about.get("model", "")
    framework = f"{about.get('framework', '')} {about.get('framework_version', '')}".strip()
    patterns = about.get("layers") or {}
    rows = [
        ("model", f"{model} ({framework})" if model and framework else model or framework),
        ("patterns", ", ".join(f"{name}: {how}" if how else name for name, how in patterns.items())),
        ("sample", f"{about['sample']}, seed {about['seed']}" if about["sample"] != "1.0" else "all"),
        ("stored as", about.get("dtype") or "computed"),
        ("recorded", f"{about['created']} by actlens {about['actlens']}, Python {about['python']}"),
    ]
    return [(name, text) for name, text in rows if text]


def _described(values: Any) -> tuple[str, str, str]:
    """Give dtype, number of different values, and the values or their range."""
    import numpy as np

    different = np.unique(values)
    kind = "text" if values.dtype.kind in "UT" else values.dtype.name
    if len(different) <= _FEW:
        return kind, str(len(different)), ", ".join(map(str, different.tolist()))
    return kind, f"{len(different):,}", f"{different[0]} … {different[-1]}"
