"""`actlens info`: what there is in a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from actlens.cli.options import Run

if TYPE_CHECKING:
    from actlens.recording import Recording

_FEW = 10  # values that are shown each; of more, the first and the last


def info(run: Run) -> None:
    """Show what a recording holds. Its layers, its columns, and where they came from."""
    from actlens.recording import open as open_recording

    typer.echo(_text(open_recording(run)))


def _text(run: Recording) -> str:
    from actlens.activations import LayerInfo, layer_table
    from actlens.table import text_table

    layers = {
        key: LayerInfo(layer.type, _sizes(layer), layer.dtype.name, layer.axes) for key, layer in run.items()
    }
    origin = _origin(run.info)
    columns = [(name, *_described(values)) for name, values in run.columns.items()]
    return "\n".join(
        [
            _headline(run),
            "",
            text_table(origin[0], origin[1:]),
            "",
            layer_table(layers),
            "",
            text_table(["column", "dtype", "different", "values"], columns),
        ]
    )


def _sizes(layer: Any) -> tuple[int, ...]:
    """Give the shape; of ragged rows, the average number of positions stands for them."""
    if layer.shape[1:2] != (None,):
        return tuple(layer.shape)
    return (layer.shape[0], round(float(layer.lengths.mean())) if len(layer) else 0, *layer.shape[2:])


def _headline(run: Recording) -> str:
    from actlens.table import bytes_text, printable

    about = run.info
    shards = "1 shard" if about["shards"] == 1 else f"{about['shards']} shards"
    end = "sealed" if about["sealed"] else "not sealed: still being written, or its writer was stopped"
    rows = f"{run.rows:,} rows × {len(run)} layers"
    return f"{printable(run.path)}: {rows}, {bytes_text(about['bytes'])} in {shards}, {end}"


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
