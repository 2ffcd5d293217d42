"""What is watched while batches go by: memory, the end of the first batch, compilations."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Compilations:
    """Counts what jax and TensorFlow compile, where one of them is loaded."""

    def __init__(self) -> None:
        self.count = 0
        if "jax" in sys.modules:
            import jax

            jax.monitoring.register_event_duration_secs_listener(self._of_jax)
        if "tensorflow" in sys.modules:
            self._watch_tensorflow()

    def _of_jax(self, event: str, _seconds: float, **_more: object) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"

    def _watch_tensorflow(self) -> None:
        from tensorflow.python.eager.polymorphic_function import tracing_compilation

        trace = tracing_compilation.trace_function

        def counted(*args: object, **kwargs: object) -> object:
            functions = kwargs.get("tracing_options", args[-1] if args else None)
            before = (
                len(functions.function_cache) if functions is not None and functions.function_cache else 0
            )
            result = trace(*args, **kwargs)
            after = len(functions.function_cache) if functions is not None and functions.function_cache else 0
            self.count += after > before
            return result

        tracing_compilation.trace_function = counted


class Watch:
    """The most private memory while batches go by, and when the second one was asked for."""

    def __init__(self, compilations: Compilations) -> None:
        self._start = private_mib()
        self._highest = self._start
        self._compilations = compilations
        self._compiled = 0
        self.second_batch = 0.0

    @property
    def peak(self) -> float:
        return self._highest - self._start

    def watched(self, batches: Iterator) -> Iterator:
        for number, batch in enumerate(batches):
            self._highest = max(self._highest, private_mib())
            if number <= 1:
                self.second_batch = time.perf_counter()
                self._compiled = self._compilations.count
            yield batch
        self._highest = max(self._highest, private_mib())

    def compiled_since_the_second(self) -> int:
        """Give the number of compilations after the first batch."""
        return self._compilations.count - self._compiled


def private_mib() -> float:
    """Anonymous memory: what the out-of-memory killer counts."""
    try:
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
