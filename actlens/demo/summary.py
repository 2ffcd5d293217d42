"""What a demo made, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from actlens.recording import Recording
from actlens.table import bytes_text, text_table


def summary(
    run: Recording, accuracies: Mapping[int, float], files: Mapping[Path, str], seconds: Mapping[str, float]
) -> str:
    """Give the accuracies, the files with their sizes, and where the time went."""
    steps = len(accuracies)
    samples = run.rows // steps
    recorded = f"{samples} samples × {steps} epochs × {len(run)} layers ({', '.join(run)})"
    rows = [(f"{run.path}/", _size(run.path), f"the recording: {recorded}")]
    rows += [(str(path), _size(path), shows) for path, shows in files.items()]
    per_epoch = [[str(epoch), f"{100 * accuracy:.1f} %"] for epoch, accuracy in accuracies.items()]
    parts = ", ".join(f"{part} {time:.1f} s" for part, time in seconds.items())
    return "\n".join(
        [
            text_table(["epoch", "held-out images named rightly"], per_epoch),
            "",
            text_table(["file", "size", "shows"], rows),
            "",
            f"{sum(seconds.values()):.1f} s: {parts}",
        ]
    )


def _size(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return bytes_text(sum(file.stat().st_size for file in files))
