"""Errors of verifying, repairing, copying and merging recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actlens.errors._base import ActlensError, InputError, listed
from actlens.errors._recording import (
    CorruptRecording,
    ReadFailed,
    RecordingError,
    RecordingExists,
    WriteFailed,
)
from actlens.errors._unsupported import UnsupportedFormat

_AROUND = (  # what the messages of _recording.py put before and after what was seen
    (" is damaged: ", ". Restore the file from a copy"),
    (" cannot be read: ", ". The shards hold all data"),
)


class UpkeepError(RecordingError):
    """Recordings that cannot be merged, or a place where none can be put."""

    @classmethod
    def fields_differ(cls, first: object, other: object, fields: Iterable[str]) -> UpkeepError:
        """Two schemas, field by field."""
        return cls(
            f"{first} and {other} cannot be merged, their rows are not alike: {'; '.join(fields)}. "
            "All sources of a merge have the same layers and columns: record them alike, or open them one by one."
        )

    @classmethod
    def same_samples(cls, ids: Sequence[object], count: int, sources: Iterable[object]) -> UpkeepError:
        """The same sample in two sources, by names that were given."""
        return cls(
            f"{count} samples stand in two of the sources ({' and '.join(map(str, sources))}): {listed(ids)}. "
            "A sample counts once in each step of a recording: merge recordings of different samples or steps, or leave one out."
        )

    @classmethod
    def numbered_samples(cls, ids: Sequence[object], count: int, sources: Iterable[object]) -> UpkeepError:
        """The same number in two sources that each counted from 0."""
        return cls(
            f"the ids of {' and '.join(map(str, sources))} overlap in {count} numbers ({listed(ids)}), and were counted from 0 in "
            "at least one of them: the same number is not the same sample. Record again with ids: write(…, id=…), or a column "
            "named 'id' in record()."
        )

    @classmethod
    def no_sources(cls, given: object) -> InputError:
        """`merge("run", target)`, or an empty list."""
        return InputError(f"merge() got {given!r} as sources; it takes a list of paths, one recording each.")

    @classmethod
    def source_twice(cls, path: object) -> InputError:
        """The same folder under two names."""
        return InputError(f"merge() got {path} twice; every source is named once.")

    @classmethod
    def inside(cls, target: object, source: object) -> InputError:
        """A copy in the middle of what is copied."""
        return InputError(f"the target {target} lies in the recording {source}: choose a path outside of it.")

    @classmethod
    def age(cls, given: object) -> InputError:
        """`gc(older_than="day")`."""
        return InputError(f"older_than= is {given!r}; it takes a number of seconds of at least 0.")

    @classmethod
    def target_taken(cls, target: object, seen: str) -> RecordingExists:
        """A target that is there already."""
        return RecordingExists(
            f"{target} is there already ({seen}); nothing was touched. Give a path that does not exist, or an empty folder."
        )

    @classmethod
    def being_written(cls, path: object, writers: Iterable[str]) -> RecordingExists:
        """A repair under the hands of a writer."""
        return RecordingExists(
            f"{path} is being written at this moment (by {listed(writers)}) and is not whole; nothing was touched. "
            "Repair it when its writers have ended: upkeep.verify() says what is wrong meanwhile."
        )

    @classmethod
    def being_repaired(cls, path: object) -> RecordingExists:
        """Two repairs at once."""
        return RecordingExists(
            f"{path} is being repaired by another program at this moment; nothing was touched."
        )

    @classmethod
    def nothing_left(cls, path: object) -> CorruptRecording:
        """Neither the manifest nor any shard tells what recording this is."""
        return CorruptRecording(
            f"nothing of the recording {path} can be read, neither its manifest nor the header of a shard, so there is nothing to "
            "repair it from; nothing was touched. Restore it from a copy."
        )

    @classmethod
    def damaged_source(cls, source: object, problems: Sequence[str], done: str) -> CorruptRecording:
        """A copy or merge of something damaged."""
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        return CorruptRecording(
            f"{source} was not {done}, it is damaged: {problems[0]}{more}. Nothing was left at the target. "
            "upkeep.verify() lists every problem; upkeep.repair() sets aside what is damaged."
        )

    @classmethod
    def unread_source(cls, source: object, problem: str, done: str) -> ReadFailed:
        """A copy or merge of what the system, or the network, does not give."""
        return ReadFailed(
            f"{source} was not {done}: {problem}. Nothing was left at the target, and the source may well be whole: "
            "mend the cause (permissions, a mount, the network) and try again."
        )

    @classmethod
    def damaged_target(cls, target: object, problems: Sequence[str]) -> CorruptRecording:
        """What was written does not read as it was."""
        return CorruptRecording(
            f"what was written for {target} does not read back as it was: {problems[0]}. Nothing was left there: "
            "the disk or the memory of this machine is at fault, the source is whole."
        )

    @classmethod
    def not_written(cls, target: object, cause: OSError) -> WriteFailed:
        """The disk refused a copy or a merge."""
        return WriteFailed(
            f"{target} could not be written: {_reason(cause)}. Nothing was left there, the source is as it was."
        )

    @classmethod
    def not_repaired(cls, path: object, cause: OSError) -> WriteFailed:
        """The disk refused a repair half way."""
        return WriteFailed(
            f"repairing {path} failed: {_reason(cause)}. No shard was lost by it; mend the cause and repair again."
        )

    @classmethod
    def not_removed(cls, path: object, cause: OSError) -> WriteFailed:
        """The disk refused to remove a file."""
        return WriteFailed(
            f"{path} could not be removed: {_reason(cause)}. What was removed before it stays so."
        )

    @classmethod
    def set_aside_is_no_folder(cls, path: object) -> WriteFailed:
        """A file or a link where damaged files are to go."""
        return WriteFailed(
            f"{path} is not a folder of its own (a file or a link); damaged shards are moved there. "
            "Nothing was touched: move it away and repair again."
        )

    @classmethod
    def later_version(cls, what: str) -> UnsupportedFormat:
        """A repair must not give up what only a later program can read; `what` is its message."""
        return UnsupportedFormat(f"{what} Nothing was touched.")

    @classmethod
    def not_readable(cls, path: object, what: str) -> ReadFailed:
        """A repair must not give up a file that may be whole."""
        return ReadFailed(
            f"{path} was not repaired: {what}. The file may well be whole, so nothing was touched: mend the cause "
            "(permissions, a mount) and repair again."
        )


def what_was_seen(error: ActlensError) -> str:
    """Give the middle of a message about a file: what is wrong with it, without its path and the advice.

    >>> what_was_seen(CorruptRecording.shard("a/b", "it is empty"))
    'it is empty'
    """
    text = str(error)
    if isinstance(error, ReadFailed):
        return "it cannot be read: " + text.partition(". Mend the cause")[0].rpartition(": ")[2]
    for before, after in _AROUND:
        _, found, rest = text.partition(before)
        if found and after in rest:
            return rest.partition(after)[0]
    return text


def _reason(cause: OSError) -> str:
    return f"{cause.strerror or cause} ({type(cause).__name__})"
