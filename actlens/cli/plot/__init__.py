"""`actlens plot`: pictures of embeddings, of recordings and of comparisons."""

import typer

from actlens.cli.plot.diff import diff
from actlens.cli.plot.feature_maps import feature_maps
from actlens.cli.plot.heatmap import heatmap
from actlens.cli.plot.matrix import matrix
from actlens.cli.plot.scatter import scatter
from actlens.cli.plot.scree import scree
from actlens.cli.plot.trajectory import trajectory

app = typer.Typer(
    help="Draw an embedding, a layer or a comparison into a PNG, PDF or SVG.", rich_markup_mode=None
)
app.command("scatter")(scatter)
app.command("heatmap")(heatmap)
app.command("feature-maps")(feature_maps)
app.command("scree")(scree)
app.command("trajectory")(trajectory)
app.command("matrix")(matrix)
app.command("diff")(diff)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Draw an embedding, a layer or a comparison into a PNG, PDF or SVG."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
