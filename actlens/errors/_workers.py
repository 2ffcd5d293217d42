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
    def shut_down(cls) -> WorkerError:
        """`executor=` that has ended, or whose Dask client is closed."""
        return cls(
            "executor= is shut down, or its client closed: it takes no more tasks. Call within its with block, "
            "or make a new one."
        )

    @classmethod
    def in_event_loop(cls) -> WorkerError:
        """A Dask client of asyncio."""
        return cls(
            "executor= is of an asynchronous Dask client, and waiting for it here would block its own event loop. "
            "Use Client(…) without asynchronous=True; or await asyncio.to_thread(…) with an executor of such a client."
        )

    @classmethod
    def cancelled(cls) -> WorkerError:
        """Tasks that were taken back by somebody else."""
        return cls(
            "a task was cancelled before it had ended: the executor was shut down, or its client or cluster closed, "
            "while a pass was under way. Nothing is returned of it; call again while the executor lives."
        )

    @classmethod
    def not_sent(cls, part: object, reason: BaseException) -> WorkerError:
        """A task or a layer that cannot be pickled."""
        layer = getattr(getattr(getattr(part, "part", part), "reader", None), "layer", None)
        what = "a task" if layer is None else f"a part of {type(layer).__name__}"
        return cls(
            f"{what} cannot be sent to another process ({type(reason).__name__}: {reason}). What goes there is "
            "pickled: make it so (no lambda, no open file in it), or use threads, or executor=None."
        )

    @classmethod
    def not_loaded(cls, reason: BaseException) -> WorkerError:
        """A scheduler or a worker with other packages than the caller's."""
        return cls(
            f"the cluster cannot load what was sent to it ({type(reason).__name__}: {reason}). Its scheduler and its "
            "workers need the caller's packages: actlens, what reads the recording, the module of a layer of your own."
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

    @classmethod
    def said_by(cls, worker: str) -> str:
        """The note below an error that came from a worker."""
        return f"on a worker ({worker}); its path must lead to the same files as the caller's"
