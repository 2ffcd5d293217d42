"""What `stop=True` saves: the first half of a deep network against a full forward, interleaved.

python benchmarks/stop.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

import actlens

DEPTH, WIDTH, ROUNDS = 16, 64, 15


def main() -> None:
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(DEPTH)
    ]
    model = nn.Sequential(*blocks).eval()
    x = torch.randn(8, WIDTH, 32, 32)
    middle = {str(DEPTH // 2 - 1): "b c h w -> b c"}
    forwards = {
        "bare forward": model,
        "capture": actlens.capture(model, middle),
        "capture, stop=True": actlens.capture(model, middle, stop=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forwards}
    with torch.no_grad():
        for _ in range(ROUNDS + 1):  # the first round warms up, and lets stop=True learn
            for name, forward in forwards.items():
                start = time.perf_counter()
                forward(x)
                seconds[name].append(time.perf_counter() - start)
    print(f"{DEPTH} blocks, captured after block {DEPTH // 2}; medians of {ROUNDS}\n")
    print("| forward | ms | × bare |\n|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values[1:], seconds["bare forward"][1:], strict=True))
        print(f"| {name} | {1000 * statistics.median(values[1:]):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
