"""What the demo refuses."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors import InputError


class DemoError(InputError):
    """An argument or a folder that the demo cannot use."""

    @classmethod
    def framework(cls, given: str, choices: Iterable[str]) -> DemoError:
        """`--framework nope`."""
        return cls(
            f"the demo of this version does not speak {given!r}. Frameworks it speaks: {', '.join(choices)}."
        )

    @classmethod
    def epochs(cls, given: object) -> DemoError:
        """Nothing to train."""
        return cls(f"epochs={given!r}; the demo takes a whole number from 1 to 1000.")

    @classmethod
    def seed(cls, given: object) -> DemoError:
        """What a random generator cannot start from."""
        return cls(f"seed={given!r}; the demo takes a whole number from 0 to {(1 << 32) - 1}.")

    @classmethod
    def not_a_folder(cls, path: object) -> DemoError:
        """A file where the folder should be."""
        return cls(f"{path} is a file; the demo writes into a folder. Choose another one with --out.")

    @classmethod
    def exists(cls, path: object, names: Iterable[str]) -> DemoError:
        """Files of an earlier demo."""
        return cls(
            f"{path} holds {', '.join(names)} already; nothing was touched. "
            "--force replaces these files and no others; --out names another folder."
        )

    @classmethod
    def not_ours(cls, path: object, names: Iterable[str]) -> DemoError:
        """Files in the place of the recording that no recording has: never deleted."""
        return cls(
            f"{path} holds files that are not of a recording ({', '.join(names)}); nothing was deleted. "
            "Move them away, or choose another folder with --out."
        )
