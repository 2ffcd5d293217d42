"""Whatever fsspec reaches and obstore does not, to be read: `hf://`, `memory://`, `sftp://`, and so on.

fsspec has no way to put a file only where none is that holds for all its file systems, and none to ask for a
file by its tag: hence reading only, and the digests of the shards have to tell a file that was changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from actlens.errors import AddressError, MissingDependency
from actlens.remote.address import Address
from actlens.remote.store import Absent, Listed, PastTheEnd, Piece, StoreError

_SIGNS = (
    "ETag",
    "etag",
    "e_tag",
    "md5",
    "sha",
    "blob_id",
    "mtime",
    "last_modified",
    "LastModified",
    "created",
)
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError, TypeError)


class FsspecStore:
    """A folder of a file system of fsspec."""

    def __init__(self, at: Address) -> None:
        self._system, self._root = _opened(at)
        self._sizes: dict[str, Listed] = {}

    def whole(self, path: str, limit: int) -> bytes:
        """Give a file, or its first `limit` bytes."""
        with _errors():
            return bytes(self._system.cat_file(self._at(path), start=0, end=limit))

    def part(self, path: str, begin: int, end: int, tag: str = "") -> Piece:  # noqa: ARG002 - see above
        """Give a range of a file."""
        with _errors():
            if path not in self._sizes:
                self._sizes[path] = _listed(self._system.info(self._at(path)))
            known = self._sizes[path]
            if begin >= known.size:
                raise PastTheEnd("it ends before")
            content = bytes(self._system.cat_file(self._at(path), start=begin, end=min(end, known.size)))
            return Piece(content, known.size, known.tag)

    def listing(self, folder: str) -> dict[str, Listed] | None:
        """Give all files under a folder; None where the file system cannot list."""
        root = self._at("")
        with _errors():
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._at(folder), detail=True)
            except FileNotFoundError:
                return {}
            except NotImplementedError:
                return None
        cut = len(root.rstrip("/")) + 1
        self._sizes = {name[cut:]: _listed(info) for name, info in found.items()}
        return dict(self._sizes)

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root


def _listed(info: Mapping[str, Any]) -> Listed:
    """Take size and tag: whatever a file system has that another content would not have."""
    return Listed(int(info["size"]), next((str(info[sign]) for sign in _SIGNS if info.get(sign)), ""))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError:
        raise Absent("it does not exist") from None
    except Exception as error:  # of whatever library is below; its text may hold what is secret
        again = not isinstance(error, _FINAL)
        raise StoreError(f"the file system failed ({type(error).__name__})", again=again) from None


def _opened(at: Address) -> tuple[Any, str]:
    feature = f"reading {at.scheme}://"
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingDependency.for_feature(feature, "fsspec", "remote") from error
    if at.scheme not in fsspec.available_protocols():
        raise AddressError.of(at, f"neither obstore nor fsspec knows {at.scheme}://")
    try:
        system, root = fsspec.core.url_to_fs(f"{at.root}{at.path}")
    except ImportError as error:  # fsspec says which package has the file system
        raise MissingDependency.of_scheme(feature, str(error)) from error
    except Exception as error:
        raise AddressError.of(at, f"fsspec does not take it ({type(error).__name__})") from None
    return system, str(root)
