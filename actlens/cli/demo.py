"""`actlens demo`: everything once, on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    framework: Annotated[
        str, typer.Option("--framework", help="Whose model: torch, flax or keras.")
    ] = "torch",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write.")] = Path("demo"),
    epochs: Annotated[int, typer.Option("--epochs", help="How long to train.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of the split, the weights and the batches.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of an earlier demo.")] = False,
) -> None:
    """Do everything once, on real data. Train a small network on handwritten digits, record three of its
    layers at every epoch, reduce and draw them.
    """
    from actlens.demo import run_demo

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    result = run_demo(out, framework=framework, epochs=epochs, seed=seed, force=force, tell=tell)
    typer.echo(f"\n{result}")
