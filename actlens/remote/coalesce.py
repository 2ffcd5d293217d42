"""Which requests fetch which spans: near ones together, long ones in parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from actlens.format.blob import Span

GAP = 1 << 20
"""Up to so many bytes that nobody asked for are fetched rather than asking twice."""

MOST = 16 << 20
"""The longest request."""


@dataclasses.dataclass(slots=True)
class Request:
    """Bytes [begin, end) of an object, and the memory that they go to."""

    begin: int
    end: int
    spans: list[Span]

    def fill(self, content: memoryview) -> None:
        """Copy what was fetched to where it was asked for."""
        for begin, view in self.spans:
            view[:] = content[begin - self.begin : begin - self.begin + len(view)]


def coalesced(spans: Sequence[Span], *, gap: int = GAP, most: int = MOST) -> list[Request]:
    """Give requests that fill every span: none longer than `most`, none with a hole longer than `gap`.

    >>> view = memoryview(bytearray(4))
    >>> [(r.begin, r.end) for r in coalesced([(20, view), (0, view), (6, view)], gap=2)]
    [(0, 10), (20, 24)]
    """
    pieces = [(begin + at, view[at : at + most]) for begin, view in spans for at in range(0, len(view), most)]
    pieces.sort(key=lambda piece: (piece[0], len(piece[1])))
    requests: list[Request] = []
    for begin, view in pieces:
        end = begin + len(view)
        last = requests[-1] if requests else None
        if last is not None and begin - last.end <= gap and max(last.end, end) - last.begin <= most:
            last.end = max(last.end, end)
            last.spans.append((begin, view))
        else:
            requests.append(Request(begin, end, [(begin, view)]))
    return requests
