"""An address, `s3://bucket/prefix/run`: taken apart, and shown without what is secret in it."""

from __future__ import annotations

import dataclasses
import re

from actlens.errors import AddressError

OBJECT_STORES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "azure")
WEB = ("http", "https")
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)(/?[^?]*)(\?.*)?", re.IGNORECASE | re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a recording is. `host` may hold a name and a password, `query` a token: neither is ever shown."""

    scheme: str
    host: str
    path: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take a text apart.

        Raises:
            ArgumentError: a part is missing, or leads elsewhere.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or "\0" in text:
            raise AddressError.of(_without_query(text), "it is not scheme://place/path")
        scheme, host, path, query = match[1].lower(), match[2], match[3], match[4] or ""
        shown = cls(scheme, host, path.rstrip("/"))
        parts = [part for part in path.split("/") if part]
        if scheme in (*OBJECT_STORES, *WEB) and not host:
            raise AddressError.of(shown, "it names no bucket or server")
        if {".", ".."} & set(parts):
            raise AddressError.of(shown, "it has a part '.' or '..'")
        if query and scheme not in WEB:  # of a bucket, '?' may be a part of a name
            path, query = path + query, ""
        if scheme not in (*OBJECT_STORES, *WEB):  # what it means is the file system's business
            return cls(scheme, host, path.rstrip("/"))
        return cls(scheme, host, "/".join(part for part in path.split("/") if part), query)

    @property
    def root(self) -> str:
        """The address without its path, with all that is needed to reach it."""
        return f"{self.scheme}://{self.host}"

    def under(self, path: str) -> str:
        """Give an address under this one, to be shown."""
        host = self.host.rpartition("@")[2]
        between = "/" if self.path and not self.path.startswith("/") else ""
        return f"{self.scheme}://{host}{between}{self.path}" + (f"/{path}" if path else "")

    def __str__(self) -> str:
        return self.under("")


def _without_query(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//", text.partition("?")[0])
