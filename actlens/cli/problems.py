"""What the command line refuses, and whose fault an exception is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from actlens.errors import (
    ActlensError,
    InputError,
    NotFound,
    RecordingExists,
    RecordingNotFound,
    SelectionError,
)

_BAD_USE = (InputError, SelectionError, NotFound, RecordingExists, RecordingNotFound)


def exit_code(error: ActlensError | OSError) -> int:
    """2 where another command line would do, 1 for the rest."""
    return 2 if isinstance(error, _BAD_USE) else 1


class Misuse(InputError):
    """An argument of a command that cannot be used."""

    @classmethod
    def target(cls, given: str) -> Misuse:
        """No `MODULE:FACTORY`."""
        return cls(
            f"{given!r} is not MODULE:FACTORY. MODULE is a module or a .py file, FACTORY a function "
            "or class in it that gives a model: models:make, path/to/models.py:make"
        )

    @classmethod
    def many_axes(cls, layer: str, axes: Iterable[str]) -> Misuse:
        """A layer of more than samples × features, and no word how to make it that."""
        return cls(
            f"layer {layer!r} has the axes ({', '.join(axes)}), and reduce takes (samples, features): "
            "--flatten makes every value a feature, --mean averages the positions."
        )

    @classmethod
    def not_aligned(cls, method: str, known: Iterable[str]) -> Misuse:
        """`--by` with a method that fits one frame."""
        return cls(f"--method {method} takes no --by and no --align; these do: {', '.join(known)}.")

    @classmethod
    def components(cls, given: str) -> Misuse:
        """`--n-components two`."""
        return cls(f"--n-components {given!r} is no number. It takes 2, or with --method pca a share: 0.95.")

    @classmethod
    def biased(cls, measure: str) -> Misuse:
        """`--biased` of what has no unbiased estimate."""
        return cls(f"--biased is of --measure cka; {measure} has one estimate.")

    @classmethod
    def ragged(cls, layer: str, axis: str) -> Misuse:
        """A layer of rows of different lengths, and no word what to make of them."""
        return cls(
            f"layer {layer!r} has a different number of positions (axis {axis!r}) in each sample: "
            "--tokens takes every position as a row, --mean averages those of each sample."
        )

    @classmethod
    def no_module(cls, name: str, folder: object) -> Misuse:
        """Not installed, and not here."""
        return cls(
            f"there is no module {name!r}, neither in {folder} nor installed. "
            "A file is given with its suffix: path/to/models.py:make"
        )

    @classmethod
    def no_file(cls, path: object) -> Misuse:
        """A .py file that is not there."""
        return cls(f"there is no file {path}.")

    @classmethod
    def no_factory(cls, module: str, name: str, names: Iterable[str]) -> Misuse:
        """The module has no such name."""
        found = ", ".join(names) or "(none)"
        return cls(f"{module} has no {name!r}. Functions and classes in it: {found}.")

    @classmethod
    def not_a_model(cls, target: str, given: object) -> Misuse:
        """The factory gave something else."""
        return cls(f"{target} gave a {type(given).__name__}, which is not a model of a known framework.")

    @classmethod
    def shape(cls, given: str) -> Misuse:
        """`--input eight`."""
        return cls(f"--input {given!r} is not a shape: sizes with x between them, as 8x1x8x8 or 8x16:int64.")

    @classmethod
    def where(cls, given: str) -> Misuse:
        """`--where step`."""
        return cls(f"--where {given!r} is not COLUMN=VALUE, as step=3.")

    @classmethod
    def where_value(cls, name: str, given: str, kind: str) -> Misuse:
        """`--where step=late`."""
        return cls(f"--where {name}={given}: column {name!r} holds {kind}.")

    @classmethod
    def rows(cls, given: str) -> Misuse:
        """`--rows first`."""
        return cls(f"--rows {given!r} is neither a number (one sample) nor a range such as 0:64.")

    @classmethod
    def numbers(cls, option: str, given: str) -> Misuse:
        """`--components x,y`."""
        return cls(f"{option} {given!r} is not a list of whole numbers, as 0,2.")

    @classmethod
    def hours(cls, given: float) -> Misuse:
        """`--older-than -1`."""
        return cls(f"--older-than {given:g} is not a number of hours of at least 0.")

    @classmethod
    def both(cls, first: str, second: str) -> Misuse:
        """Two options that exclude each other."""
        return cls(f"{first} and {second} exclude each other: give one of them.")

    @classmethod
    def no_id(cls, given: str) -> Misuse:
        """No row has it."""
        return cls(f"--id {given}: no row has this id.")

    @classmethod
    def several(cls, given: str, count: int) -> Misuse:
        """The same sample at several steps."""
        return cls(f"--id {given}: {count} rows have this id. Choose one with --where, as --where step=0.")

    @classmethod
    def suffix(cls, path: object, suffixes: Iterable[str]) -> Misuse:
        """An output of another kind."""
        return cls(f"--out {path}: the name must end in {' or '.join(suffixes)}.")

    @classmethod
    def no_folder(cls, path: object, folder: object) -> Misuse:
        """The folder of the output is not there."""
        return cls(f"--out {path}: there is no folder {folder}.")

    @classmethod
    def is_folder(cls, path: object) -> Misuse:
        """The output is a folder."""
        return cls(f"--out {path} is a folder; give the name of a file.")

    @classmethod
    def exists(cls, path: object) -> Misuse:
        """The output is there already."""
        return cls(f"{path} exists; nothing was touched. --force replaces it.")


class NoVerdict(InputError):
    """A comparison that did not come to an end: it says neither that two recordings agree nor that they
    differ.
    """

    @classmethod
    def of(cls, error: ActlensError | OSError) -> NoVerdict:
        """A recording that cannot be read, or code that raised."""
        return cls(f"no verdict: {_first_words(error)}")


def _first_words(error: ActlensError | OSError) -> str:
    if isinstance(error, OSError) and not isinstance(error, ActlensError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class Failed(ActlensError):
    """Something raised, or the disk refused, where nobody asked wrongly."""

    @classmethod
    def code(cls, what: str, error: BaseException) -> Failed:
        """Code that is not ours, or a fault of ours."""
        lines = str(error).strip().splitlines() or ["no message"]
        return cls(f"{what} failed: {type(error).__name__}: {lines[0]} (--debug shows the traceback)")

    @classmethod
    def write(cls, path: object, error: OSError) -> Failed:
        """The disk said no."""
        return cls(f"{path} could not be written: {error.strerror or error}.")


@contextmanager
def or_no_verdict() -> Iterator[None]:
    """Let no failure look like a difference, whose exit code is 1: all others have 2."""
    try:
        with blamed("the comparison", passing=(ActlensError, OSError)):
            yield
    except (ActlensError, OSError) as error:
        if exit_code(error) == 2:
            raise
        raise NoVerdict.of(error) from error


@contextmanager
def blamed(what: str, *, passing: tuple[type[BaseException], ...] = (ActlensError,)) -> Iterator[None]:
    """Turn whatever is raised into a `Failed` that names the code it came from; `passing` goes through."""
    try:
        yield
    except passing:
        raise
    except (Exception, SystemExit) as error:  # the one place for all that other people's code can raise
        raise Failed.code(what, error) from error
