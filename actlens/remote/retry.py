"""Trying again: what may pass (a busy server, a connection that broke), a few times, more and more slowly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from actlens.remote.store import StoreError

T = TypeVar("T")

TRIES = 6
FIRST_PAUSE = 0.1  # seconds; each pause is twice the one before, by chance up to as much shorter
LONGEST_PAUSE = 5.0


def retried(action: Callable[[], T]) -> T:
    """Give what the action gives; try again what may pass.

    Raises:
        StoreError: it did not pass, or cannot.
    """
    for attempt in range(TRIES - 1):
        try:
            return action()
        except StoreError as error:
            if not error.again:
                raise
        pause(attempt)
    try:
        return action()
    except StoreError as error:
        if not error.again:
            raise
        raise StoreError(f"{error}; it was tried {TRIES} times") from None


def pause(attempt: int) -> None:
    """Wait before the next try."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
    time.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - so that many writers do not come back at once
