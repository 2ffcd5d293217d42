"""Files that change under an open reader."""

from __future__ import annotations

import os
import shutil

from hostile import forge
from hostile.cases import Case, nothing
from hostile.forge import shard


def meanwhile(name, change, refused, **options):
    return Case(f"meanwhile: {name}", nothing, refused, meanwhile=change, **options)


def _cut(size):
    return lambda folder: os.truncate(shard(folder), size)


def _replaced(folder, seed=1):
    """Another recording's shard of the same layout: written aside, then renamed over."""
    other = forge.good(folder.parent / "other", seed=seed)
    shutil.move(shard(other), shard(folder))


def _rewritten(folder):
    """The same in place: the same inode."""
    other = forge.good(folder.parent / "other", seed=1)
    shard(folder).write_bytes(shard(other).read_bytes())


def _replaced_by(make):
    def change(folder):
        path = shard(folder)
        path.unlink()
        make(path)

    return change


CUT = "it ends before its data; it was cut short|header claims|its tensors end at|shorter than any shard"
OTHER = "it was renamed|another file took its place|not the shard that the manifest lists"

CASES = [
    meanwhile("cut to nothing", _cut(0), CUT),
    meanwhile("cut to 5 bytes", _cut(5), CUT),
    meanwhile("cut within the header", _cut(50), CUT),
    meanwhile("cut after the header", _cut(4096), CUT),
    meanwhile("cut within the data", _cut(4200), CUT),
    meanwhile("grown by a terabyte", _cut(1 << 40), "|its tensors end at"),
    meanwhile("another recording's shard", _replaced, OTHER),
    meanwhile("another recording's shard in place", _rewritten, OTHER),
    meanwhile("removed", lambda f: shard(f).unlink(), "cannot read .*No such file"),
    meanwhile("folder removed", shutil.rmtree, "cannot read .*No such file"),
    meanwhile("a FIFO", _replaced_by(os.mkfifo), "a FIFO or a device, not a file"),
    meanwhile("a link", _replaced_by(lambda p: p.symlink_to("/dev/zero")), "a symbolic link"),
    meanwhile("touched", lambda f: os.utime(shard(f)), ""),
    meanwhile("manifest removed", lambda f: (f / "manifest.json").unlink(), ""),
]
