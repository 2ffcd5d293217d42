"""Errors of work that is shared out to an executor."""

from __future__ import annotations

from actlens.errors._base import ActlensError


class WorkerError(ActlensError, RuntimeError):
    """A worker of an executor that cannot do its part."""

    @classmethod
    def not_an_executor(cls, given: object) -> WorkerError:
        """`executor=` of something else, such as Dask's Client itself."""
        hint = " Of a Dask client: client.get_executor()." if hasattr(given, "get_executor") else ""
        return cls(
            f"executor= takes None or an executor with submit(), as those of concurrent.futures; got "
            f"{type(given).__name__}.{hint}"
        )

    @classmethod
    def no_access(cls, path: str, worker: str) -> WorkerError:
        """A worker on another machine, which does not see the caller's folder."""
        return cls(
            f"a worker ({worker}) finds no recording at {path}. Workers open it themselves: give them the same "
            "path on a shared file system, or open the recording by an address they all reach (s3://…)."
        )

    @classmethod
    def lost(cls) -> str:
        """The warning where a worker died: its part is not lost."""
        return "a worker died while it worked on a part; the part is worked on again in this process"
