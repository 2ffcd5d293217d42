"""The application: which commands there are, and what a person sees when one fails."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from actlens.cli import (
    compare,
    copy,
    demo,
    diff,
    gc,
    info,
    layers,
    merge,
    plot,
    reduce,
    repair,
    stats,
    verify,
)
from actlens.cli.problems import blamed, exit_code
from actlens.errors import ActlensError

_DEBUG = "--debug"
# The class that all errors of parsing share; from click in older versions of typer, from typer in newer ones.
_ParsingError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
_EXPECTED = (ActlensError, OSError, SystemExit, typer.Exit, typer.Abort, _ParsingError)

app = typer.Typer(
    name="actlens",
    help="Record, reduce, look at and compare the hidden-layer activations of neural networks.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("layers")(layers.layers)
app.command("info")(info.info)
app.command("reduce")(reduce.reduce)
app.command("stats")(stats.stats)
app.command("compare")(compare.compare)
app.command("diff")(diff.diff)
app.add_typer(plot.app, name="plot")
app.command("demo")(demo.demo)
app.command("verify")(verify.verify)
app.command("repair")(repair.repair)
app.command("copy")(copy.copy)
app.command("merge")(merge.merge)
app.command("gc")(gc.gc)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Record, reduce, look at and compare the hidden-layer activations of neural networks."""
    del debug  # read by main(), wherever it stands in the line
    if version:
        from actlens._version import __version__

        typer.echo(f"actlens {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 if all went well, 2 for bad use, 1 for everything else.

    An error is one line on stderr; with --debug, anywhere in the line, its traceback comes first.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    debug = _DEBUG in given
    sys.exit(_run([word for word in given if word != _DEBUG], debug=debug))


def _run(args: list[str], *, debug: bool) -> int:
    try:
        with blamed("actlens itself", passing=_EXPECTED):
            return int(app(args, prog_name="actlens", standalone_mode=False) or 0)
    except _ParsingError as error:
        path = error.ctx.command_path if error.ctx is not None else "actlens"
        return _failed(error, f"{error.format_message()} (see: {path} --help)", 2, debug=debug)
    except typer.Abort as error:
        return _failed(error, "stopped.", 130, debug=debug)
    except (ActlensError, OSError) as error:
        return _failed(error, _text(error), exit_code(error), debug=debug)


def _failed(error: BaseException, text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    from actlens.table import printable

    typer.echo(f"actlens: {printable(text)}", err=True)
    return code


def _text(error: ActlensError | OSError) -> str:
    if isinstance(error, OSError) and not isinstance(error, ActlensError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
