"""`actlens plot`: pictures of embeddings and of recordings."""

import typer

from actlens.cli.plot.feature_maps import feature_maps
from actlens.cli.plot.heatmap import heatmap
from actlens.cli.plot.scatter import scatter
from actlens.cli.plot.scree import scree
from actlens.cli.plot.trajectory import trajectory

app = typer.Typer(help="Draw an embedding or a layer into a PNG, PDF or SVG file.", rich_markup_mode=None)
app.command("scatter")(scatter)
app.command("heatmap")(heatmap)
app.command("feature-maps")(feature_maps)
app.command("scree")(scree)
app.command("trajectory")(trajectory)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Draw an embedding or a layer into a PNG, PDF or SVG file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
