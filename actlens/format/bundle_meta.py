"""What a bundle says of itself: the JSON beside its arrays."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from actlens.errors import CorruptBundle, UnsupportedFormat
from actlens.format import strict_json

VERSION = 1
KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")

# What the metadata may cost once parsed: as of a shard (reader.py).
_COST, _COST_PER_TENSOR = 4 << 20, 8 << 10


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON beside the arrays, field for field."""

    bundle: str
    version: int
    digests: dict[str, str]
    texts: dict[str, tuple[int, ...]] = {}
    """Array of text → its shape; its tensors hold bytes and offsets."""
    about: msgspec.Raw = msgspec.Raw(b"{}")


class Opening(msgspec.Struct):
    """What must be understood before the rest is read."""

    bundle: str
    version: int


def check_cost(text: str, tensors: int) -> None:
    """Hold the JSON to what a reader takes.

    Raises:
        Invalid: it is no strict JSON, or costs more than its tensors account for.
    """
    strict_json.check(text.encode(), _COST + _COST_PER_TENSOR * tensors)


def meta_of(text: str, count: int, path: object) -> Meta:
    """Parse the JSON of a bundle of so many tensors.

    Raises:
        CorruptBundle: it breaks the format, or a limit.
        UnsupportedFormat: it is of a later version.
    """
    try:
        check_cost(text, count)
        opening = msgspec.json.decode(text, type=Opening)
        if opening.version < 1:
            raise strict_json.Invalid(f"its version is {opening.version}")
        if opening.version > VERSION:
            raise UnsupportedFormat.version(path, opening.version, VERSION)
        meta = msgspec.json.decode(text, type=Meta)
        about_of(meta)
        return meta
    except (msgspec.MsgspecError, strict_json.Invalid) as error:
        raise CorruptBundle.of(path, f"it is no bundle: {error}") from error


def about_of(meta: Meta) -> dict[str, Any]:
    """Parse the entry `about`."""
    return msgspec.json.decode(meta.about, type=dict[str, Any])
