"""`actlens reduce`: a layer of a recording to an embedding in a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from actlens.cli.options import Flatten, Force, Layer, Mean, Run, Tokens, Where
from actlens.cli.output import check, writing
from actlens.cli.problems import Misuse

_SUFFIXES = (".safetensors",)


class Method(StrEnum):
    """The reducers."""

    pca = "pca"
    tsne = "tsne"
    umap = "umap"


def reduce(  # noqa: PLR0913 - the options of a command
    run: Run,
    layer: Layer,
    *,
    method: Annotated[Method, typer.Option("--method", help="How.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A name in .safetensors.")],
    n_components: Annotated[int, typer.Option("--n-components", help="Dimensions to reduce to.")] = 2,
    random_state: Annotated[int, typer.Option("--random-state", help="The seed.")] = 0,
    where: Where = None,
    flatten: Flatten = False,
    mean: Mean = False,
    tokens: Tokens = False,
    force: Force = False,
) -> None:
    """Reduce a layer to few dimensions. Writes an embedding, with the ids and columns of its rows."""
    import actlens.reduce as reducers
    from actlens.cli.selecting import layer_of, recording

    check(out, _SUFFIXES, force=force)
    selected = recording(run, where)
    activations = layer_of(selected, layer, flatten=flatten, mean=mean, tokens=tokens)
    if activations.ndim > 2:
        raise Misuse.many_axes(layer, activations.axes)
    steps = selected.columns.get("step", ())
    if len(set(steps)) > 1:
        typer.echo(f"note: rows of {len(set(steps))} steps together; --where step=… takes one", err=True)
    function = getattr(reducers, method.value)
    embedding = function(activations, n_components=n_components, random_state=random_state)
    with writing(out):
        embedding.save(out)
    typer.echo(repr(embedding))
