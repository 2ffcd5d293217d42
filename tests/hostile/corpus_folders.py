"""Folders in which something else stands where a file or a folder should be."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from hostile import forge
from hostile.cases import Case
from hostile.forge import shard, shards


def in_place_of_shard(make):
    def change(folder):
        path = shards(folder)[-1]
        path.unlink()
        make(path)

    return change


def in_place_of_manifest(make):
    def change(folder):
        (folder / "manifest.json").unlink()
        make(folder / "manifest.json")

    return change


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is at most 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _device(path):
    os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero by another name


def _itself(path):
    path.symlink_to(path)


def _linked(folder, path):
    """A link to a good file."""
    moved = folder.parent / f"moved-{path.name}"
    path.rename(moved)
    path.symlink_to(moved)


def _far_seq(folder):
    """One shard that says it is the hundred-millionth, so that all before it are missing."""
    (folder / "manifest.json").unlink()
    path = shard(folder)
    forge.edit_meta(path, lambda m: m.update(seq=99_999_999, prev="0" * 32))
    path.rename(path.with_name("99999999.safetensors"))


def _many_names(folder):
    for i in range(2000):
        (shard(folder).parent / f"junk-{i}").touch()


def _many_empty_shards(folder):
    for i in range(1, 300):
        (shard(folder).parent / f"{i:08d}.safetensors").touch()


def _many_writers(folder):
    for i in range(500):
        (folder / "shards" / f"{i:05d}-x").mkdir()


def _foreign_digits(folder):
    """A writer's folder in Arabic digits, which are digits to Python."""
    writer = shard(folder).parent
    shutil.copytree(writer, writer.with_name("٠٠٠٠١" + writer.name[5:]))


def _copied_writer(folder):
    writer = shard(folder).parent
    shutil.copytree(writer, writer.with_name("00001" + writer.name[5:]))
    (folder / "manifest.json").unlink()


def _mixed(folder):
    other = forge.good(folder.parent / "other", seed=1)
    writer = shard(other).parent
    shutil.copytree(writer, folder / "shards" / writer.name)


def _shards_elsewhere(folder):
    (folder / "shards").rename(folder.parent / "elsewhere")
    (folder / "shards").symlink_to(folder.parent / "elsewhere")


def _writer_elsewhere(folder):
    writer = shard(folder).parent
    writer.rename(folder.parent / "elsewhere")
    writer.symlink_to(folder.parent / "elsewhere")


def _shards_a_file(folder):
    shutil.rmtree(folder / "shards")
    (folder / "shards").touch()


def _no_shards(folder):
    shutil.rmtree(folder / "shards")


LINK, OTHER = "it is a symbolic link, not a file", "it is a folder, a FIFO or a device, not a file"
THINGS = {
    "a link to /dev/zero": (lambda p: p.symlink_to("/dev/zero"), LINK),
    "a link to /etc/passwd": (lambda p: p.symlink_to("/etc/passwd"), LINK),
    "a link to itself": (_itself, LINK),
    "a link to nothing": (lambda p: p.symlink_to("nothing"), LINK),
    "a FIFO": (os.mkfifo, OTHER),
    "a folder": (lambda p: p.mkdir(), OTHER),
    "a socket": (_socket, OTHER),
}
if os.geteuid() == 0:
    THINGS["a device"] = (_device, OTHER)

CASES = [
    *[Case(f"shard: {name}", in_place_of_shard(make), text) for name, (make, text) in THINGS.items()],
    *[
        Case(f"last of several shards: {name}", in_place_of_shard(make), text, several=True)
        for name, (make, text) in THINGS.items()
    ],
    *[Case(f"manifest: {name}", in_place_of_manifest(make), text) for name, (make, text) in THINGS.items()],
    Case("shard: a link to itself moved", lambda f: _linked(f, shard(f)), LINK),
    Case("manifest: a link to itself moved", lambda f: _linked(f, f / "manifest.json"), LINK),
    Case("shards: a link to elsewhere", _shards_elsewhere, "lacks shards"),
    Case("shards: a file", _shards_a_file, "lacks shards"),
    Case("shards: gone", _no_shards, "lacks shards"),
    Case("writer: a link to elsewhere", _writer_elsewhere, "lacks shards"),
    Case("writer in foreign digits", _foreign_digits, ""),
    Case("writer copied to another rank", _copied_writer, "it was renamed"),
    Case("writer of another recording", _mixed, "belongs to another recording"),
    Case("the hundred-millionth shard", _far_seq, "lacks shards .*and \\d+ more"),
    Case("2,000 other names", _many_names, ""),
    Case("300 empty shards", _many_empty_shards, "shorter than any shard"),
    Case("500 empty writers", _many_writers, ""),
]
