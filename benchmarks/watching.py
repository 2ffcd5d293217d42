"""What is watched while batches go by: memory, the end of the first batch, compilations."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_JAX_STEPS = "/jax/core/compile/"
_JAX_COMPILES = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Counts and times what jax and TensorFlow compile, where one of them is loaded."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        if "jax" in sys.modules:
            import jax

            jax.monitoring.register_event_duration_secs_listener(self._of_jax)
        if "tensorflow" in sys.modules:
            self._watch_tensorflow()

    def _of_jax(self, event: str, seconds: float, **_more: object) -> None:
        self.count += event == _JAX_COMPILES
        self.seconds += seconds if event.startswith(_JAX_STEPS) else 0.0

    def _watch_tensorflow(self) -> None:
        """Wrap what a tf.function calls at each call: it traces where its cache has no fitting graph."""
        from tensorflow.python.eager.polymorphic_function import tracing_compilation

        trace = tracing_compilation.trace_function

        def counted(*args: object, **kwargs: object) -> object:
            options = kwargs.get("tracing_options", args[-1] if args else None)
            before, start = _graphs(options), time.perf_counter()
            result = trace(*args, **kwargs)
            if _graphs(options) > before:
                self.count += 1
                self.seconds += time.perf_counter() - start
            return result

        tracing_compilation.trace_function = counted


def _graphs(options: object) -> int:
    cache = getattr(options, "function_cache", None)
    return 0 if cache is None else len(cache)


class Watch:
    """The most private memory while batches go by, and when the second one was asked for."""

    def __init__(self, compilations: Compilations) -> None:
        self._start = private_mib()
        self._highest = self._start
        self._compilations = compilations
        self._at_the_second = (0, 0.0)
        self.second_batch = 0.0

    @property
    def peak(self) -> float:
        return self._highest - self._start

    def watched(self, batches: Iterator) -> Iterator:
        for number, batch in enumerate(batches):
            self._highest = max(self._highest, private_mib())
            if number <= 1:  # of a single batch all is steady
                self.second_batch = time.perf_counter()
                self._at_the_second = (self._compilations.count, self._compilations.seconds)
            yield batch
        self._highest = max(self._highest, private_mib())

    def compiled_since_the_second(self) -> tuple[int, float]:
        """Give the number of compilations after the first batch, and their seconds."""
        count, seconds = self._at_the_second
        return self._compilations.count - count, self._compilations.seconds - seconds


def private_mib() -> float:
    """Anonymous memory: what the out-of-memory killer counts."""
    try:
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
