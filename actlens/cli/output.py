"""`--out`: looked at before the work, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from actlens.cli.problems import Failed, Misuse


def check(out: Path, suffixes: Iterable[str], *, force: bool) -> None:
    """Refuse an output that cannot be written, or that would replace a file unasked.

    Raises:
        Misuse: another suffix; no such folder; it exists, and `force` is not given.
    """
    suffixes = list(suffixes)
    if out.is_dir():
        raise Misuse.is_folder(out)
    if out.suffix.lower() not in suffixes:
        raise Misuse.suffix(out, suffixes)
    if not out.parent.is_dir():
        raise Misuse.no_folder(out, out.parent)
    if out.exists() and not force:
        raise Misuse.exists(out)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say of an error of the disk which output it was: files are written aside under other names."""
    try:
        yield
    except OSError as error:
        raise Failed.write(out, error) from error
    typer.echo(f"wrote {out}")
