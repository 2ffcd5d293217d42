"""Pieces that are cut off, added, blanked, swapped, stale, deleted or doubled."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from actlens.format.local import LocalPlace
from actlens.format.reader import Shard
from actlens.format.schema import ACT, COL, IDX, shard_name
from actlens.format.shard import write_shard
from actlens.format.text import encode_text
from faults.calls import memory
from faults.gathered import in_children
from faults.nursery import Job, Nursery
from faults.program import Say
from faults.rows import rows_of
from faults.specimen import STATES, Specimen, State
from faults.tally import Tally

_PAGE = 4096
_ATTEMPTS = [[40, 36, 44], [40, 28]]
_WIDTH = 60

Damage = Callable[[Specimen, random.Random], bool]
"""Damages a specimen; says whether no more than `not sealed` can be known of it by design."""


def every_kind(nursery: Nursery, count: int, *, seed: int = 0, weak: tuple[str, ...] = ()) -> list[Tally]:
    """Do each kind of damage so many times, in turns to a sealed recording and to those that are not."""
    arguments = [{"state": state, "count": count, "seed": seed} for state in STATES]
    return in_children(nursery, [Job("faults.pieces:in_state", some, weak=weak) for some in arguments])


def in_state(say: Say, *, state: State, count: int, seed: int) -> list[Any]:
    """Damage one recording, in this state's share of the turns; in a child."""
    tallies = []
    with Specimen(_ATTEMPTS, width=_WIDTH, state=state, folder=memory()) as specimen:
        for name, damage in DAMAGES.items():
            tally = Tally(name)
            chance = random.Random(f"{seed} {name} {state}")
            for number in range(STATES.index(state), count, len(STATES)):
                with restored(specimen.path):
                    by_design = damage(specimen, chance)
                    verdict = specimen.verdict(may_be_unsealed=by_design and state != "sealed")
                tally.add(verdict, f"{state}, {number}")
                say(f"{name} {number}")
            tallies.append(tally)
        assert specimen.verdict().kind == "harmless", "damage was not undone"
    return [tally.parts for tally in tallies]


@contextlib.contextmanager
def restored(path: Path) -> Iterator[None]:
    """Put a folder back as it was."""
    kept = path.with_name("kept")
    shutil.copytree(path, kept)
    try:
        yield
    finally:
        shutil.rmtree(path)
        kept.rename(path)


def _files(specimen: Specimen) -> list[Path]:
    return [*specimen.shards, *([specimen.manifest] if specimen.manifest.exists() else [])]


def _truncate(specimen: Specimen, chance: random.Random) -> bool:
    path = chance.choice(_files(specimen))
    os.truncate(path, chance.randrange(path.stat().st_size))
    return False


def _extend(specimen: Specimen, chance: random.Random) -> bool:
    more = chance.randrange(1, 3 * _PAGE)
    with chance.choice(_files(specimen)).open("ab") as file:
        file.write(bytes(more) if chance.random() < 0.5 else chance.randbytes(more))
    return False


def _zero(specimen: Specimen, chance: random.Random) -> bool:
    path = chance.choice(_files(specimen))
    content = bytearray(path.read_bytes())
    at = chance.randrange(-(-len(content) // _PAGE)) * _PAGE
    blank = bytes(len(content[at : at + _PAGE]))
    content[at : at + _PAGE] = blank
    path.write_bytes(content)
    return False


def _swap_blocks(specimen: Specimen, chance: random.Random) -> bool:
    path = chance.choice([path for path in specimen.shards if path.stat().st_size >= 2 * _PAGE])
    content = bytearray(path.read_bytes())
    one, two = (at * _PAGE for at in chance.sample(range(len(content) // _PAGE), 2))
    a, b = bytes(content[one : one + _PAGE]), bytes(content[two : two + _PAGE])
    content[one : one + _PAGE], content[two : two + _PAGE] = b, a
    path.write_bytes(content)
    return False


def _swap_shards(specimen: Specimen, chance: random.Random) -> bool:
    one, two = chance.sample(specimen.shards, 2)
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)
    return False


def _of_another_recording(specimen: Specimen, chance: random.Random) -> bool:
    number = chance.randrange(len(specimen.shards))
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        other = Specimen(_ATTEMPTS, width=_WIDTH, state=specimen.state, folder=folder)
        shutil.copy(other.shards[number], specimen.shards[number])
    return False


def _stale(specimen: Specimen, chance: random.Random) -> bool:
    """An older version of the same name: same recording, writer, number and predecessor, other rows."""
    path = chance.choice(specimen.shards)
    last = _is_last_of_its_writer(specimen, path)
    meta = Shard(path).meta
    ids = np.arange(meta.rows) + 1_000_000
    acts, columns = rows_of(ids, _WIDTH)
    raw, offsets = encode_text([columns["label"]])
    tensors = {ACT + key: [value] for key, value in acts.items()}
    tensors |= {COL + "id": [ids], COL + "label": [raw], IDX + COL + "label": [offsets]}
    tensors |= {COL + "weight": [columns["weight"]]}
    path.unlink()
    place = LocalPlace(specimen.path, "rename")
    write_shard(place, msgspec.structs.replace(meta, digests={}), tensors)
    return last


def _is_last_of_its_writer(specimen: Specimen, path: Path) -> bool:
    return path == [shard for shard in specimen.shards if shard.parent == path.parent][-1]


def _delete(which: str) -> Damage:
    def damage(specimen: Specimen, chance: random.Random) -> bool:
        writer = chance.choice(sorted({path.parent for path in specimen.shards}))
        mine = sorted(writer.iterdir())
        if which == "middle" and len(mine) < 3:
            mine = sorted(specimen.shards[0].parent.iterdir())
        path = {"first": mine[0], "middle": mine[len(mine) // 2], "last": mine[-1]}[which]
        path.unlink()
        return which == "last"

    return damage


def _double(specimen: Specimen, chance: random.Random) -> bool:
    """A copy, as the next shard of its writer, of another one, or under its own name there."""
    path = chance.choice(specimen.shards)
    writer = chance.choice(sorted({shard.parent for shard in specimen.shards}))
    free = writer / shard_name(len(list(writer.iterdir())))
    named = writer / path.name
    shutil.copy(path, free if named.exists() or chance.random() < 0.5 else named)
    return False


def _writer_doubled(specimen: Specimen, chance: random.Random) -> bool:
    """A whole writer's folder, under another name."""
    writer = chance.choice(sorted({shard.parent for shard in specimen.shards}))
    shutil.copytree(writer, writer.with_name(f"{chance.randrange(10**5):05d}{writer.name[5:-1]}z"))
    return False


DAMAGES: dict[str, Damage] = {
    "truncated": _truncate,
    "extended": _extend,
    "4 KiB blanked": _zero,
    "4 KiB blocks swapped": _swap_blocks,
    "shards swapped": _swap_shards,
    "shard of another recording": _of_another_recording,
    "older shard of the same name": _stale,
    "first shard deleted": _delete("first"),
    "middle shard deleted": _delete("middle"),
    "last shard deleted": _delete("last"),
    "shard doubled": _double,
    "writer doubled": _writer_doubled,
}
