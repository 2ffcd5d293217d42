"""Errors of bundles, the files of results, and what is said of results that lie with a recording."""

from __future__ import annotations

from actlens.errors._base import ActlensError, InputError, brief
from actlens.errors._recording import RecordingError


class BundleError(InputError):
    """Something that cannot be stored in a bundle."""

    @classmethod
    def kind(cls, given: object) -> BundleError:
        """A kind that cannot be a part of a file's name."""
        return cls(
            f"the kind of a bundle is {brief(repr(given))}; it takes 1 to 32 of a-z, 0-9 and -, a letter first."
        )

    @classmethod
    def name(cls, name: object) -> BundleError:
        """A name of an array."""
        return cls(
            f"an array of a bundle is named {brief(repr(name))}; it takes a text of 1 to 900 bytes without NUL."
        )

    @classmethod
    def dtype(cls, name: str, dtype: object) -> BundleError:
        """Numbers that safetensors has no code for, or objects."""
        return cls(
            f"array {brief(repr(name))} has dtype {dtype}, which cannot be stored: integers, bools, floats up to "
            "64 bits, complex64 and text can."
        )

    @classmethod
    def text(cls, name: str, why: object) -> BundleError:
        """Half a character, which UTF-8 has no bytes for."""
        return cls(f"array {brief(repr(name))} has a text that is no valid Unicode: {brief(why)}")

    @classmethod
    def about(cls, why: object) -> BundleError:
        """Metadata that JSON cannot hold."""
        return cls(
            f"the metadata of a bundle must be what JSON can hold (texts as keys; finite numbers): {brief(why)}"
        )

    @classmethod
    def too_large(cls, why: object) -> BundleError:
        """Metadata, or a number of arrays, that no reader would take."""
        return cls(
            f"the bundle would be too large to be read again: {brief(why)}. Store less beside the arrays."
        )


class CorruptBundle(RecordingError):
    """A bundle whose bytes are not what was written, or another file in its place."""

    @classmethod
    def of(cls, path: object, what: str) -> CorruptBundle:
        """What is wrong; the advice depends on what the bundle is, so there is none here."""
        return cls(f"{path} is damaged: {brief(what)}. Make it anew, or restore it from a copy.")

    @classmethod
    def kind(cls, path: object, found: str, wanted: str) -> CorruptBundle:
        """A whole file of something else."""
        return cls(f"{path} holds {brief(repr(found))}, not {wanted!r}: give the file that was meant.")


class DerivedWarning(UserWarning):
    """A result that lies with a recording could not be used, or could not be kept."""

    @classmethod
    def damaged(cls, path: object, what: str) -> DerivedWarning:
        """It is computed again, and replaced."""
        return cls(
            f"{path} cannot be used: {brief(what)} The result is computed again, and the file replaced."
        )

    @classmethod
    def not_kept(cls, path: object, why: str) -> DerivedWarning:
        """The result is right, and will be computed again the next time."""
        return cls(
            f"the result could not be kept as {path}: {brief(why)}. It is right, and will be computed again next time; "
            "mend the cause (make room), or pass cache=False."
        )


def seen_in_bundle(error: ActlensError) -> str:
    """Give the middle of a message about a bundle: what is wrong with it, without its path and the advice.

    >>> seen_in_bundle(CorruptBundle.of("a/b", "it is empty"))
    'it is empty'
    """
    text = str(error)
    return (
        text.partition(" is damaged: ")[2].removesuffix(". Make it anew, or restore it from a copy.") or text
    )
