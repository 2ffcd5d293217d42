"""`actlens layers`: what there is in a model."""

from __future__ import annotations

from typing import Annotated

import typer


def layers(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY",
            help="A module or a .py file, and a function or class in it that gives a model.",
        ),
    ],
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="The shape of an example input, as 8x1x8x8 or 8x16:int64. Repeat for more inputs.",
        ),
    ] = None,
) -> None:
    """List the layers of a model. With --input also their shapes, axes and sizes."""
    from actlens._capture import layers as layers_of
    from actlens.cli.problems import blamed
    from actlens.cli.target import arrays, model_of

    with model_of(target) as model:
        examples = arrays(shapes or [], model)
        with blamed(f"{target}()({', '.join(shapes or ())})"):
            table = layers_of(model, *examples)
    typer.echo(str(table))
