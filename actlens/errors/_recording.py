"""Errors of writing and reading recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actlens.errors._base import ActlensError, InputError, brief, listed


class BudgetExceeded(ActlensError):
    """The recording would not fit."""

    @classmethod
    def of(cls, need: str, limit: str, per_row: str, remedies: Iterable[str]) -> BudgetExceeded:
        """Before anything was written: sizes as text, and what would fit."""
        return cls(
            f"this recording needs about {need} ({per_row} a row), and {limit}. "
            f"What would fit: {'; '.join(remedies)}. Nothing was written."
        )

    @classmethod
    def reached(cls, rows: int, limit: str) -> BudgetExceeded:
        """On the way, where the number of batches was not known beforehand."""
        return cls(
            f"the budget of {limit} is used up after {rows} rows. They are committed and can be opened; "
            "record fewer samples (sample=0.1), a smaller dtype (dtype='float16') or pooled layers."
        )

    @classmethod
    def bad_budget(cls, given: object) -> InputError:
        """`budget="lots"`."""
        return InputError(
            f"budget= is {given!r}; it takes a number of bytes or a text such as '2GB', '500MB' or '1.5TiB'."
        )


class RecordingError(ActlensError):
    """A recording that cannot be made, written or read."""

    @classmethod
    def schema_changed(cls, what: str, was: object, now: object) -> RecordingError:
        """A layer or column that is not as in the rows before."""
        return cls(
            f"{what} was {was} in the rows recorded so far and is {now} now. "
            "All batches of a recording have the same layers and columns, each of one shape and dtype: "
            "write to another path, or pool the layer to a fixed shape."
        )

    @classmethod
    def choices_changed(cls, changed: Mapping[str, tuple[object, object]]) -> RecordingError:
        """A recording that is joined or gone on with, and other options."""
        fields = "; ".join(
            f"{name}= was {was!r} in the rows recorded so far and is {now!r} now"
            for name, (was, now) in changed.items()
        )
        return cls(
            f"{fields}. To go on with this recording, give the same again; else write to another path."
        )

    @classmethod
    def needs_ids(cls, rank: int) -> RecordingError:
        """Several ranks that would each count from 0."""
        return cls(
            f"rank {rank} wrote rows without ids. Where several processes write one recording, each must name its samples: "
            "write(…, id=…), or a column named 'id' in record()."
        )

    @classmethod
    def closed(cls, path: object) -> RecordingError:
        """A write after the end."""
        return cls(f"the recorder of {path} is closed. Open a new one with resume=True to add rows.")

    @classmethod
    def other_process(cls, path: object) -> RecordingError:
        """A forked child uses its parent's recorder."""
        return cls(
            f"the recorder of {path} belongs to the process that opened it; this is a child of it. "
            "Open a recorder after the fork, with a path of its own."
        )

    @classmethod
    def no_rows(cls, path: object, seen: int, sample: object) -> RecordingError:
        """Nothing was kept."""
        why = (
            f"none of the {seen} rows seen was kept by sample={sample!r}"
            if seen
            else "no row was written: the iterable of batches is empty, or write() was never called"
        )
        return cls(f"the recording {path} would be empty: {why}. Nothing was left at that path.")

    @classmethod
    def overflow(cls, layer: str, dtype: str, largest: float, limit: float) -> RecordingError:
        """A narrowing that would turn finite numbers into infinities."""
        return cls(
            f"layer {layer!r} has finite values up to {largest:.4g}, and {dtype} ends at {limit:.4g}: "
            "they would become inf. Use dtype='bfloat16', or leave dtype out."
        )


class RecordingExists(RecordingError):
    """The path is taken."""

    @classmethod
    def recording(cls, path: object) -> RecordingExists:
        """By a recording."""
        return cls(
            f"{path} holds a recording already; nothing was touched. Choose another path, delete the folder, "
            "or pass resume=True to go on with it; where several processes write one recording, give each its own rank=."
        )

    @classmethod
    def in_use(cls, path: object) -> RecordingExists:
        """Another Recorder is at it."""
        return cls(
            f"{path} is being written by another Recorder at this moment; nothing was touched. "
            "Wait until it ends, then go on with resume=True."
        )

    @classmethod
    def other_files(cls, path: object, names: Iterable[str]) -> RecordingExists:
        """By something else."""
        return cls(
            f"{path} exists and is not a recording (it holds {listed(names)}); nothing was touched. "
            "Choose a path that does not exist or an empty folder."
        )


class RecordingNotFound(RecordingError):
    """There is no recording at the path."""

    @classmethod
    def of(cls, path: object, seen: str) -> RecordingNotFound:
        """What is there instead."""
        return cls(
            f"no recording at {path}: {brief(seen)}. A recording is a folder with manifest.json and shards/."
        )

    @classmethod
    def not_listed(cls, path: object, *, there: bool) -> RecordingNotFound:
        """A web server: only what a sealed manifest names can be found there."""
        seen = "its manifest.json is not sealed" if there else "there is no manifest.json"
        return cls(
            f"cannot read {path}: {seen}, and this place cannot be listed. Only a sealed recording can be read there: "
            "end its writer well (close(), or the end of its with block), then copy all of it."
        )

    @classmethod
    def no_shards(cls, path: object) -> RecordingNotFound:
        """Claimed, and nothing committed yet."""
        return cls(
            f"the recording {path} has no committed rows yet. Its writer is still filling the first shard, "
            "or ended before it (rec.flush() commits what is there so far)."
        )


class WriteFailed(RecordingError):
    """The file system refused a write. What was committed before is safe."""

    @classmethod
    def claim(cls, path: object, cause: OSError) -> WriteFailed:
        """The folder could not be made."""
        return cls(f"cannot make a recording at {path}: {_reason(cause)}. Nothing was written.")

    @classmethod
    def shard(cls, path: object, rows: int, cause: OSError) -> WriteFailed:
        """A shard could not be committed."""
        kept = (
            f"The {rows} rows committed before are safe and can be opened; mend the cause and go on with resume=True."
            if rows
            else "No row was committed."
        )
        return cls(f"writing a shard of {path} failed: {_reason(cause)}. {kept}")

    @classmethod
    def manifest(cls, path: object, rows: int, cause: Exception) -> WriteFailed:
        """All shards are there, the index is not."""
        return cls(
            f"sealing {path} failed: {_reason(cause) + '.' if isinstance(cause, OSError) else cause} All {rows} rows are committed and can be opened; "
            "only the manifest, which can be made again from the shards, was not written."
        )


class ReadFailed(RecordingError):
    """The file system refused a read; the file may well be whole."""

    @classmethod
    def of(cls, path: object, cause: OSError) -> ReadFailed:
        """Opening or reading a file."""
        return cls(
            f"cannot read {path}: {_reason(cause)}. Mend the cause (permissions, a disk, a mount) and try again."
        )

    @classmethod
    def too_large(cls, path: object, size: int) -> ReadFailed:
        """An array that memory does not hold."""
        return cls(
            f"cannot read {path} at once: that takes {size:,} bytes of memory. Read fewer rows: layer[a:b], layer.chunks()."
        )

    @classmethod
    def larger_than_memory(cls, path: object, size: int) -> ReadFailed:
        """A file that can only be read whole."""
        return cls(
            f"cannot read {path}: it has {size:,} bytes, more than the memory of this machine. Read it on a larger one."
        )

    @classmethod
    def remote(cls, address: object, cause: OSError) -> ReadFailed:
        """An object that a store does not give."""
        return cls(
            f"cannot read {address}: {cause}. Mend the cause (the address, credentials in the environment, the network) "
            "and try again."
        )


class CorruptRecording(RecordingError):
    """Bytes that are not what was written."""

    @classmethod
    def shard(cls, path: object, what: str) -> CorruptRecording:
        """A shard that breaks the format or its digests."""
        return cls(
            f"{path} is damaged: {brief(what)}. Restore the file from a copy; the other shards are not affected."
        )

    @classmethod
    def manifest(cls, path: object, what: str) -> CorruptRecording:
        """A manifest that cannot be read."""
        return cls(
            f"{path} cannot be read: {brief(what)}. The shards hold all data: move the manifest away, and open() "
            "reads them without it."
        )

    @classmethod
    def manifest_too_large(cls, path: object, size: int, most: int) -> CorruptRecording:
        """A manifest that no shards account for."""
        return cls.manifest(
            path, f"it is {size} bytes long, and the shards beside it need no more than {most}"
        )

    @classmethod
    def missing_shards(cls, path: object, names: Iterable[str]) -> CorruptRecording:
        """Gaps in the sequence, or files that the manifest names."""
        return cls(
            f"the recording {path} lacks shards that were committed: {listed(names)}. Restore them from a copy; "
            "the rows in the other shards are whole."
        )

    @classmethod
    def cut_short(cls, path: object) -> CorruptRecording:
        """A file that ends too early."""
        return cls.shard(path, "it ends before its data; it was cut short")

    @classmethod
    def replaced(cls, path: object) -> CorruptRecording:
        """Another file of the same name."""
        return cls.shard(path, "another file took its place after it was opened")

    @classmethod
    def gone(cls, address: object) -> CorruptRecording:
        """An object that was listed."""
        return cls(f"{address} is missing: it was committed, and is not there. Restore it from a copy.")

    @classmethod
    def changed(cls, address: object) -> CorruptRecording:
        """An object that is replaced while it is read; shards never are."""
        return cls(
            f"{address} was replaced while it was read: its size or its ETag is another than before. Shards never change; "
            "find out who overwrote it, and open the recording again."
        )

    @classmethod
    def other_schema(cls, path: object, first: object) -> CorruptRecording:
        """Shards that are whole, of programs that recorded different things."""
        return cls(
            f"the layers or columns of {path} differ from those of {first}: two programs have written into one recording. "
            "Move the writers' folders of one of them out of shards/, and the other opens."
        )

    @classmethod
    def numbered_ranks(cls, path: object, ranks: Iterable[int]) -> CorruptRecording:
        """Several ranks, and ids that one of them counted itself."""
        return cls(
            f"the ids in {path} were counted from 0, and ranks {listed(ranks)} wrote this recording: the same number "
            "may be two samples. Record again, and give id= in every rank."
        )


def _reason(cause: OSError) -> str:
    return f"{cause.strerror or cause} ({type(cause).__name__})"
