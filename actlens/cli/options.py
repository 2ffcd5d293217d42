"""Arguments and options that several commands share; their meaning is in selecting.py and output.py."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class PositionsChoice(StrEnum):
    """What becomes of layers of more than two axes in a comparison."""

    flatten = "flatten"
    mean = "mean"
    samples = "samples"


Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The folder of a recording, or an address as s3://bucket/run.")
]
RunA = Annotated[
    str, typer.Argument(metavar="RUN_A", help="The folder of a recording, or an address as s3://bucket/run.")
]
RunB = Annotated[str, typer.Argument(metavar="RUN_B", help="The other one.")]
Folder = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a recording.")]
Layer = Annotated[str, typer.Argument(metavar="LAYER", help="A layer in it; `actlens info RUN` lists them.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COLUMN=VALUE",
        help="Only rows with this value, as step=3. Repeat for more columns, or more values of one.",
    ),
]
Flatten = Annotated[bool, typer.Option("--flatten", help="Make every value of a sample a feature.")]
Mean = Annotated[bool, typer.Option("--mean", help="Average the positions (height, width, token …).")]
Tokens = Annotated[
    bool, typer.Option("--tokens", help="Of rows of different lengths: every position a row of its own.")
]
Patterns = Annotated[
    list[str] | None,
    typer.Option("--layers", metavar="PATTERN", help="Only these layers, as 'conv*'. Repeat for more."),
]
Positions = Annotated[
    PositionsChoice | None,
    typer.Option(
        "--positions",
        help="Of layers with positions: every value a feature, their average, or every position a row.",
    ),
]
EmbeddingFile = Annotated[
    Path, typer.Argument(metavar="EMBEDDING", help="A file that `actlens reduce` or Embedding.save wrote.")
]
Ident = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="One sample, by its id (beside --where).")
]
Color = Annotated[str | None, typer.Option("--color", metavar="COLUMN", help="Colour by a column, as label.")]
Force = Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")]
PictureOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="A name in .png, .pdf or .svg.")]
