"""The commit protocol under faults: what is acknowledged survives, what fails leaves nothing behind."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import actlens
from actlens.errors import ReadFailed, WriteFailed
from actlens.format import commit
from actlens.recorder import Recorder

A = {"a": np.arange(3000.0).reshape(300, 10)}


def _temporaries(path):
    return [file for file in path.rglob("*") if file.name.startswith(".tmp-")]


STEPS = ["open", "pwritev", "fsync", "close", "rename", "mkdir", "link"]


class _FailsOnce:
    """A system call that fails at its k-th turn."""

    def __init__(self, name, k, code):
        self._real, self._name, self._code, self.left = getattr(os, name), name, code, k

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left != -1:
            return self._real(*args, **kwargs)
        if self._name == "close":  # close(2) frees the descriptor even where it reports an error
            self._real(*args, **kwargs)
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", STEPS)
def test_every_system_call_may_fail_at_every_turn(tmp_path, monkeypatch, call, code):
    """Fail the k-th call, for every k until none fails; the rows acknowledged before are there."""
    for k in range(200):
        path = tmp_path / f"r{k}"
        failing = _FailsOnce(call, k, code)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            acknowledged = _write_three_shards(path, os.strerror(code))
        assert acknowledged is not None or failing.left < 0
        if acknowledged == 300 or (path / "shards").exists():
            run = actlens.open(path, verify="all")
            assert run.rows >= (acknowledged or 0)
            assert (run["a"][:] == A["a"][: run.rows]).all()
        assert not _temporaries(path)
        if failing.left >= 0:
            return
    pytest.fail("200 calls and no end")


def _write_three_shards(path, text):
    """Give the rows that were acknowledged."""
    acknowledged = 0
    try:
        with Recorder(path) as rec:
            for at in range(0, 300, 100):
                rec.write({"a": A["a"][at : at + 100]})
                rec.flush()
                acknowledged = at + 100
    except (WriteFailed, ReadFailed) as error:  # to begin a recording, one looks whether there is any
        assert text in str(error)  # noqa: PT017
    return acknowledged


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    real = os.pwritev

    def short(fd, views, offset):
        first = memoryview(views[0])
        return real(fd, [first[: max(1, len(first) // 3)]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    with Recorder(tmp_path / "r") as rec:
        rec.write(A)
    assert (actlens.open(tmp_path / "r", verify="all")["a"][:] == A["a"]).all()


def test_after_a_failure_every_further_write_says_so(tmp_path, monkeypatch):
    with pytest.raises(WriteFailed, match="writing a shard of .* failed: No space left on device"):
        with Recorder(tmp_path / "r") as rec:
            rec.write(A)
            rec.flush()
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev", _full)
                rec.write(A)
                with pytest.raises(
                    WriteFailed, match="The 300 rows committed before are safe and can be opened"
                ):
                    rec.flush()
            rec.write(A)
            rec.flush()
    assert actlens.open(tmp_path / "r").rows == 300
    with Recorder(tmp_path / "r", resume=True) as rec:
        rec.write(A)
        rec.write(A)
    assert actlens.open(tmp_path / "r").ids.tolist() == list(range(600))


def test_a_failure_that_is_not_the_disks_ends_the_writing_too(tmp_path, monkeypatch):
    def out_of_memory(*_args, **_kwargs):
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match="no more"):
        with Recorder(tmp_path / "r") as rec:
            rec.write(A)
            rec.flush()
            with monkeypatch.context() as patch:
                patch.setattr("actlens.writing.writer.write_shard", out_of_memory)
                rec.write(A)
                with pytest.raises(MemoryError):
                    rec.flush()
            rec.write(A)
            rec.flush()
    assert actlens.open(tmp_path / "r").rows == 300


def _full(*_args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_manifest_that_cannot_be_written_loses_no_row(tmp_path, monkeypatch):
    def no_replace(*_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(
        WriteFailed, match="sealing .* failed: Read-only file system.*All 300 rows are committed"
    ):
        with Recorder(tmp_path / "r") as rec:
            rec.write(A)
            monkeypatch.setattr("actlens.format.local.replace_bytes", no_replace)
    assert actlens.open(tmp_path / "r").rows == 300


@pytest.mark.parametrize("parent", ["/proc/actlens", "file"])
def test_a_folder_that_cannot_be_made(tmp_path, parent):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteFailed, match="cannot make a recording at .*Nothing was written"):
        Recorder(tmp_path / parent / "r")  # an absolute parent stands for itself


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_keeps_what_is_committed(small_disk):
    rows = 0
    with pytest.raises(WriteFailed, match="No space left on device .OSError"):
        with Recorder(small_disk / "r", shard_bytes=200_000) as rec:
            for _ in range(100):
                rec.write({"a": np.full((100, 100), rows, "f4")})
                rec.flush()
                rows += 100
    assert rows > 1000
    run = actlens.open(small_disk / "r", verify="all")
    assert run.rows == rows
    assert run["a"][-1, 0] == rows - 100
    assert not _temporaries(small_disk)


def test_a_read_only_disk(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(WriteFailed, match="cannot make a recording at .*Read-only file system"):
        Recorder(small_disk / "r")


def test_fallocate_that_is_not_supported_is_done_without(tmp_path, monkeypatch):
    class NoFallocate:
        def __init__(self, *_args, **_kwargs):
            self.fallocate = _Refusing()

    class _Refusing:
        def __call__(self, *_args):
            import ctypes

            ctypes.set_errno(errno.EOPNOTSUPP)
            return -1

    monkeypatch.setattr(commit.ctypes, "CDLL", NoFallocate)
    with Recorder(tmp_path / "r") as rec:
        rec.write(A)
    assert actlens.open(tmp_path / "r").rows == 300


def test_files_have_the_mode_that_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        with Recorder(tmp_path / "r") as rec:
            rec.write(A)
    finally:
        os.umask(before)
    files = [file for file in (tmp_path / "r").rglob("*") if file.is_file()]
    assert len(files) == 2
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}


WRITER = """
    import sys, numpy as np, actlens
    path, durability = sys.argv[1:]
    with actlens.Recorder(path, shard_bytes=20_000, durability=durability, resume=True) as rec:
        for at in range(0, 100_000, 50):
            rec.write({"a": np.arange(at, at + 50)[:, None] * np.ones(20, "f4")})
            if at % 200 == 0:
                rec.flush()
                print(rec.rows, flush=True)
"""


def _killed_writer(path, durability, seconds):
    """Run a writer, kill it after a while; give the rows that it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), durability],
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return [int(line) for line in rest.splitlines() if line.endswith(("0", "5"))][-1:] or [0]


@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_kill_9_loses_no_acknowledged_row_and_resume_goes_on(tmp_path, durability):
    path, chance = tmp_path / "r", random.Random(1)
    before = 0
    for _ in range(4):
        (acknowledged,) = _killed_writer(path, durability, chance.uniform(0.01, 0.4))
        run = actlens.open(path, verify="all")
        assert run.rows >= before + acknowledged
        assert run.ids.tolist() == list(range(run.rows))
        assert (run["a"][:, 0] == np.arange(run.rows)).all()
        before = run.rows


TRACED = "trace=fsync,rename,fallocate,pwritev,pwritev2"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on this machine")
def test_the_order_of_system_calls(tmp_path):
    code = (
        "import numpy as np, actlens, sys\n"
        "with actlens.Recorder(sys.argv[1]) as r: r.write({'a': np.ones((2, 2))})"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", code, str(tmp_path / "r")]
    subprocess.run(["strace", "-f", "-o", log, "-e", TRACED, *command], check=True)
    lines = log.read_text().splitlines()
    (renamed,) = [i for i, line in enumerate(lines) if "rename(" in line and "00000000.safetensors" in line]
    kinds = [line.split(maxsplit=1)[1].split("(")[0].removesuffix("2") for line in lines]
    before = kinds[:renamed]
    assert before[-1] == "fsync"
    assert before[::-1].index("fallocate") > before[::-1].index("pwritev")
    assert "fsync" in kinds[renamed + 1 : renamed + 3]  # of the folder
