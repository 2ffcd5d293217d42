"""`actlens reduce`: a layer of a recording to an embedding in a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from actlens.cli.options import Flatten, Force, Layer, Mean, Run, Tokens, Where
from actlens.cli.output import check, writing
from actlens.cli.problems import Misuse

_SUFFIXES = (".safetensors",)
_ALIGNED = ("pca", "tsne", "umap")  # what takes by= and align=


class Method(StrEnum):
    """The reducers."""

    pca = "pca"
    tsne = "tsne"
    umap = "umap"
    densmap = "densmap"
    pacmap = "pacmap"


class Nan(StrEnum):
    """What becomes of rows with NaN or inf."""

    stop = "raise"
    drop = "drop"


def reduce(  # noqa: PLR0913 - the options of a command
    run: Run,
    layer: Layer,
    *,
    method: Annotated[Method, typer.Option("--method", help="How.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A name in .safetensors.")],
    n_components: Annotated[
        str, typer.Option("--n-components", metavar="N", help="Dimensions; pca: also a share, 0.95.")
    ] = "2",
    random_state: Annotated[int, typer.Option("--random-state", help="The seed.")] = 0,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="One picture of many steps: a column, as step."),
    ] = None,
    align: Annotated[
        str | None, typer.Option("--align", metavar="HOW", help="With --by: how; left out, the best known.")
    ] = None,
    nan: Annotated[
        Nan, typer.Option("--nan", help="Rows with NaN or inf: an error, or left out.")
    ] = Nan.stop,
    quality: Annotated[bool, typer.Option("--quality", help="Also say how good the picture is.")] = False,
    where: Where = None,
    flatten: Flatten = False,
    mean: Mean = False,
    tokens: Tokens = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute, even if it lies with the recording; keep nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Reduce a layer to few dimensions. Writes an embedding, with the ids and columns of its rows."""
    import actlens.reduce as reducers
    from actlens.cli.selecting import layer_of, recording

    check(out, _SUFFIXES, force=force)
    frames = _frames(method, by, align)
    components = _components(n_components)
    selected = recording(run, where)
    activations = layer_of(selected, layer, flatten=flatten, mean=mean, tokens=tokens)
    if activations.ndim > 2:
        raise Misuse.many_axes(layer, activations.axes)
    steps = selected.columns.get("step", ())
    if by is None and len(set(steps)) > 1:
        count = len(set(steps))
        typer.echo(f"note: rows of {count} steps together; --where step=… takes one, --by step all", err=True)
    embedding = getattr(reducers, method.value)(
        activations,
        n_components=components,
        random_state=random_state,
        nan=nan.value,
        cache=not no_cache,
        **frames,
    )
    line = f"\n{embedding.quality()}" if quality else ""
    with writing(out):
        embedding.save(out)
    typer.echo(f"{embedding!r}{line}")
    if embedding.parameters.get("dropped"):
        typer.echo(f"note: {embedding.parameters['dropped']} rows with NaN or inf left out", err=True)
    if embedding.alignment is not None:
        typer.echo(repr(embedding.alignment))


def _frames(method: Method, by: str | None, align: str | None) -> dict[str, Any]:
    if by is None and align is None:
        return {}
    if method not in _ALIGNED:
        raise Misuse.not_aligned(method.value, _ALIGNED)
    known: dict[str | None, bool | str] = {None: True, "true": True, "false": False}
    return {"by": by, "align": known.get(align, align)}


def _components(given: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    raise Misuse.components(given)
