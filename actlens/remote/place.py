"""A recording at an address, to be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from actlens.errors import CorruptRecording, ReadFailed
from actlens.format.place import FREE, MANIFEST, SHARD, SHARDS, WRITER
from actlens.remote.address import Address
from actlens.remote.blob import RemoteBlob
from actlens.remote.cache import HeaderCache
from actlens.remote.retry import retried
from actlens.remote.store import Absent, Listed, Store, StoreError
from actlens.remote.threads import at_once

S = TypeVar("S")
T = TypeVar("T")

_COMMITTED = re.compile(f"{SHARDS}/{WRITER.pattern}/{SHARD.pattern}")


class RemotePlace:
    """The objects under an address."""

    def __init__(self, at: Address, store: Store, cache: HeaderCache) -> None:
        self._address = at
        self._store = store
        self._cache = cache
        self._listed: dict[str, Listed] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the address: another process asks for itself."""
        return _of_another_process, (self._address,)

    def at(self, path: str = "") -> str:
        """Give the address, without what is secret in it."""
        return self._address.under(path)

    def exists(self) -> bool:
        """Say yes: nothing but its objects makes a place."""
        return True

    def manifest(self, limit: Callable[[], int]) -> bytes | None:
        """Read the manifest."""
        try:
            content = retried(lambda: self._store.whole(MANIFEST, FREE + 1))
            if len(content) > FREE:
                most = limit()
                content = retried(lambda: self._store.whole(MANIFEST, most + 1))
                if len(content) > most:
                    raise CorruptRecording.manifest_too_large(self.at(MANIFEST), len(content), most)
            return content
        except Absent:
            return None
        except StoreError as error:
            raise ReadFailed.remote(self.at(MANIFEST), error) from None

    def shard_paths(self) -> list[str] | None:
        """List the committed shards; other names are no part of the recording."""
        try:
            found = retried(lambda: self._store.listing(SHARDS))
        except StoreError as error:
            raise ReadFailed.remote(self.at(SHARDS), error) from None
        if found is None:
            return None
        self._listed = {path: one for path, one in found.items() if _COMMITTED.fullmatch(path)}
        return sorted(self._listed)

    def blob(self, path: str, digest: str = "") -> RemoteBlob:
        """Give one shard."""
        listed = self._listed.get(path)
        return RemoteBlob(self._store, path, self.at(path), listed=listed, digest=digest, cache=self._cache)

    def size(self, path: str) -> int | None:
        """Give the bytes of a shard, where it was listed."""
        return self._listed[path].size if path in self._listed else None

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Do something with each shard, many at once."""
        return at_once("shards", function, items)


def _of_another_process(at: Address) -> Any:
    from actlens.remote import place_at  # which imports this room

    return place_at(at)
