"""Recordings elsewhere: in an object store, on a web server, or wherever fsspec reaches.

A room of this package is loaded when an address is given; obstore and fsspec when they are needed.
"""

from __future__ import annotations

from actlens.errors import AddressError
from actlens.format.place import Place, WritablePlace
from actlens.remote.address import OBJECT_STORES, WEB, Address
from actlens.remote.cache import HeaderCache
from actlens.remote.place import RemotePlace
from actlens.remote.store import Store
from actlens.remote.writable import RemoteWritablePlace


def place_to_read(address: str) -> Place:
    """Give the place of an address; nothing is asked of it yet.

    Raises:
        ArgumentError: it is no address that can be read.
        MissingDependency: the package that reads it is not installed.
    """
    return place_at(Address.parse(address))


def place_at(at: Address) -> Place:
    """Give the place of an address that is taken apart already."""
    return RemotePlace(at, _store_of(at), HeaderCache.of_environment())


def place_to_write(address: str) -> WritablePlace:
    """Give a place where shards can be committed: an object store that can put what must not be there yet.

    Raises:
        ArgumentError: such a place can only be read.
        MissingDependency: obstore is not installed.
    """
    at = Address.parse(address)
    if at.scheme not in OBJECT_STORES:
        raise AddressError.only_read(at, OBJECT_STORES)
    from actlens.remote.objects import ObjectStore

    return RemoteWritablePlace(at, ObjectStore(at), HeaderCache.of_environment())


def _store_of(at: Address) -> Store:
    if at.scheme in OBJECT_STORES or at.scheme in WEB:
        from actlens.remote.objects import ObjectStore

        return ObjectStore(at)
    from actlens.remote.filesystem import FsspecStore

    return FsspecStore(at)
