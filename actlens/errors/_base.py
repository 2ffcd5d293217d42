"""The root of the tree, the two errors every room needs, and how names are listed in a message."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 12
_LONGEST = 500


class ActlensError(Exception):
    """Anything that actlens refuses. Its text says what was seen, what is allowed and what to do."""


class InputError(ActlensError, ValueError):
    """An argument, a row, an id or a column that cannot be used."""


class MissingDependency(ActlensError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def for_feature(cls, feature: str, package: str, extra: str) -> MissingDependency:
        """`reduce.umap` without umap-learn."""
        return cls(f"{feature} needs {package}, which is not installed: pip install 'actlens[{extra}]'")

    @classmethod
    def for_pandas(cls, feature: str) -> MissingDependency:
        """A table that is asked for as a DataFrame; no extra of ours brings pandas."""
        return cls(f"{feature} needs pandas, which is not installed: pip install pandas")

    @classmethod
    def of_scheme(cls, feature: str, why: str) -> MissingDependency:
        """A file system of fsspec whose package is not installed; fsspec names it."""
        return cls(f"{feature} needs another package. fsspec says: {why}")

    @classmethod
    def broken(cls, feature: str, package: str, cause: BaseException) -> MissingDependency:
        """The package is there and does not import: pip would not help, the cause does."""
        return cls(f"{feature} needs {package}, which is installed but fails to import: {cause}")

    @classmethod
    def too_old(cls, package: str, found: str, least: str, extra: str) -> MissingDependency:
        """A framework below the version that the adapter was written for."""
        return cls(
            f"{package} {found} is installed; actlens needs {package} >= {least}: "
            f"pip install --upgrade 'actlens[{extra}]'"
        )


def printable(text: object) -> str:
    r"""Show a text as a terminal may be given it: what has no shape of its own is written as an escape.

    A name out of a file can hold sequences that clear a screen, move the cursor or turn what follows around.

    >>> printable("ab\x1b[2J\n"), printable("größer")
    ('ab\\x1b[2J\\n', 'größer')
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in whole)


def brief(text: object) -> str:
    """What was found in a file, cut where it is longer than a person reads.

    >>> brief("short")
    'short'
    """
    whole = printable(text)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}… ({len(whole):,} characters)"


def listed(names: Iterable[object]) -> str:
    """Names for a message: in their order, and no more than a person reads.

    >>> listed(["fc1", "fc2"])
    'fc1, fc2'
    """
    items = [brief(name) for name in names]
    if not items:
        return "(none)"
    rest = len(items) - _SHOWN
    shown = ", ".join(items[:_SHOWN])
    return f"{shown}, … and {rest} more" if rest > 0 else shown
