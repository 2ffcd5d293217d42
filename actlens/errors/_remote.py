"""Errors of addresses: recordings in object stores and on web servers."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors._rows import ArgumentError


class AddressError(ArgumentError):
    """An address that cannot be used, or not for this."""

    @classmethod
    def of(cls, given: object, why: str) -> AddressError:
        """An address that leads nowhere."""
        return cls(
            f"{given} cannot be used: {why}. An address is s3://bucket/path, gs://bucket/path, https://server/path."
        )

    @classmethod
    def collapsed(cls, given: object) -> AddressError:
        """`Path("s3://bucket/run")`: pathlib keeps one slash of two."""
        return cls(
            f"path is {given!r}, which was an address before pathlib took a slash out of it. Give it as a text: "
            '"s3://bucket/run".'
        )

    @classmethod
    def only_read(cls, given: object, schemes: Iterable[str]) -> AddressError:
        """Recording to a web server, or through fsspec."""
        return cls(
            f"{given} can only be read. Recordings are written to a folder, or to an object store "
            f"({', '.join(f'{scheme}://' for scheme in schemes)}). Record to one of these, and copy it."
        )

    @classmethod
    def only_folders(cls, given: object, what: str) -> AddressError:
        """`repair("s3://bucket/run")`."""
        return cls(
            f"{given} is an address, and {what} is a folder of this machine. Of upkeep, only verify takes an address, and copy as "
            "what is copied: actlens copy ADDRESS FOLDER brings a recording here."
        )

    @classmethod
    def no_mmap(cls) -> AddressError:
        """`open("s3://…", mmap=True)`."""
        return cls(
            "mmap=True maps a file of this machine, and there is none at an address. Leave it out, or copy the "
            "recording here."
        )

    @classmethod
    def timeout(cls, given: object) -> AddressError:
        """`ACTLENS_TIMEOUT=soon`."""
        return cls(f"ACTLENS_TIMEOUT is {given!r}; it takes a whole number of seconds, at least 1.")
