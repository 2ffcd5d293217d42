"""record(): a whole data set through a model into a recording, in one call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, overload

from actlens._capture import Forward, capture
from actlens.batches import BatchReader, Inputs, ModelBatch, sample_count
from actlens.budget import Budget
from actlens.errors import ActlensError, ArgumentError, BatchError, BudgetExceeded, ColumnError, RowsError
from actlens.fingerprint import weights_fingerprint
from actlens.format.schema import STEP
from actlens.recorder import Recorder
from actlens.recording import Recording
from actlens.recording import open as open_recording
from actlens.selection import Layers
from actlens.writing.ids import Sample
from actlens.writing.rows import Started


@overload
def record(
    model: Any, batches: Iterable[Any], path: str | Path, *, layers: Layers, **options: Any
) -> Recording: ...


@overload
def record(
    model: Any, batches: Iterable[Any], path: Recorder, *, layers: Layers, **options: Any
) -> Recorder: ...


def record(  # noqa: PLR0913 - the whole main job in one call; all but three have defaults
    model: Any,
    batches: Iterable[Any],
    path: str | Path | Recorder,
    *,
    layers: Layers,
    columns: Iterable[str] = (),
    inputs: Inputs = None,
    mask: str | None = None,
    sample: Sample = 1.0,
    seed: int = 0,
    dtype: str | None = None,
    step: Any = None,
    budget: int | str | None = None,
    resume: bool = False,
    stop: bool = False,
    progress: bool = True,
    **writing: Any,
) -> Recording | Recorder:
    """Run a data set through a model and record its layers.

    The model is in evaluation mode and without gradients in each call, and as it was after it: the mode of
    every layer, its statistics, its hooks. The samples' inputs are moved to the model's device.

    Args:
        model: a model of any supported framework.
        batches: any iterable of batches: arrays; tuples, whose first item goes to the model; or dicts.
        path: a new folder, or an address as s3://bucket/run; or an open Recorder, to record the same samples
            at every step of training.
        layers: as for `capture`: patterns, a dict pattern → transform, or a function of the path.
        columns: names for the other items of a tuple, in order; of a dict, which keys to store. A column
            named "id" gives the samples' ids (0, 1, 2 … otherwise).
        inputs: of a dict, the key that goes to the model, or a list of keys passed by name; of a tuple, the
            number of items that go to the model.
        mask: of texts and series, the item of a batch that says which positions count, e.g. "attention_mask":
            a key of a dict, or one of `columns`. Only those positions are stored (see `Recorder.write`).
        sample: which samples to keep, as for `Recorder`: 0.1 keeps the same tenth in every run and framework.
        seed: of the sample.
        dtype: what floats are stored as, e.g. "float16".
        step: a value for the column "step", the same for all rows.
        budget: a size such as "2GB" that the recording may not pass; checked on the first batch.
        stop: end each forward after the last layer that is needed (see `capture`).
        resume: go on with a recording that is there; what it has is not computed again.
        progress: show a progress bar, in a terminal or a notebook.
        **writing: `rank`, `ranks`, `shard_bytes`, `durability`, as for `Recorder`.

    Returns:
        The recording, open; the Recorder, still open, where `path` is one.

    Raises:
        SelectionError, CaptureError, InputError, BudgetExceeded, RecordingError: each says what was seen.

    >>> import tempfile, torch, actlens
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
    >>> run = actlens.record(model, [(torch.zeros(8, 4), torch.arange(8))], tempfile.mkdtemp() + "/run",
    ...                      layers="*", columns=["label"])
    >>> run
    <Recording ...: 8 rows × 2 layers (0, 1)>
    """
    if isinstance(batches, (str, bytes)) or not isinstance(batches, Iterable) or hasattr(batches, "shape"):
        raise BatchError.not_iterable(batches)
    forward = capture(model, layers, stop=stop)
    reader = BatchReader(inputs, columns, mask)
    options = {"sample": sample, "seed": seed, "dtype": dtype, "resume": resume, **writing}
    if isinstance(path, Recorder):
        given = [name for name, value in options.items() if not _is_default(name, value)]
        if given:
            raise ArgumentError.belongs_to_recorder(given)
        _Run(forward, path, Budget(budget, path.path), step).through(model, batches, reader, progress)
        return path
    unknown = set(writing) - _WRITING
    if unknown:
        raise ArgumentError.unknown("record", unknown, sorted(_WRITING))
    with Recorder(path, **options) as rec:
        run = _Run(forward, rec, Budget(budget, rec.path), step)
        run.model = model
        run.through(model, batches, reader, progress)
    return open_recording(path)


_WRITING = {"rank", "ranks", "shard_bytes", "durability"}
_DEFAULTS: dict[str, Any] = {"sample": 1.0, "seed": 0, "dtype": None, "resume": False}


def _is_default(name: str, value: Any) -> bool:
    if name not in _DEFAULTS:
        return False
    return type(value) is type(_DEFAULTS[name]) and bool(value == _DEFAULTS[name])


class _Run:
    """The loop. One batch is copied to the host while the model is at the next."""

    def __init__(self, forward: Forward, recorder: Recorder, budget: Budget, step: Any) -> None:
        self._forward = forward
        self._recorder = recorder
        self._budget = budget
        self._columns = {} if step is None else {"step": step}
        self._under_way: Started | None = None
        self._checked = False
        self.model: Any = None  # whose weights must be those of the rows before
        recorder.describe(model=forward.model_name, layers=forward.selection.describe())

    def through(self, model: Any, batches: Iterable[Any], reader: BatchReader, progress: bool) -> None:
        with (
            self._forward.backend.inference(model, self._forward) as forward,
            _progress_bar(str(self._recorder.path).rpartition("/")[2], progress) as advance,
        ):
            try:
                for batch in batches:
                    read = reader.read(batch)
                    total = sample_count(batches, read)
                    self._one(forward, read, total)
                    advance(read.rows, total)
            except BaseException:
                with suppress(ActlensError):  # an open Recorder may go on, and this batch was good
                    self._finish()
                raise
            self._finish()

    def _one(self, forward: Callable[..., Any], batch: ModelBatch, total: int | None) -> None:
        if self._columns.keys() & batch.columns.keys():
            raise ColumnError.twice(self._columns)
        columns = batch.columns | self._columns
        if self._recorder.skip(batch.rows, **columns):
            return
        self._hold_to_weights(columns)
        _, acts = forward(*batch.args, **batch.kwargs)
        rows = {key: int(array.shape[0]) for key, array in acts.items() if len(array.shape)}
        if any(count != batch.rows for count in rows.values()):
            raise RowsError.not_the_batch(rows, batch.rows)
        started = self._recorder.start(acts, (batch.mask, None), **columns)
        if not self._checked:
            self._check_budget(started, total)
        try:
            self._finish()
        except BaseException:  # the batch before; an open Recorder may go on without both
            self._recorder.drop(started)
            raise
        self._under_way = started
        if not self._budget.check_so_far(self._recorder.row_bytes, self._recorder.total_rows):
            self._recorder.flush()
            raise BudgetExceeded.reached(self._recorder.total_rows, str(self._budget))

    def _hold_to_weights(self, columns: Mapping[str, Any]) -> None:
        """Compare the weights, once; with steps they are those of each step, and may differ."""
        model, self.model = self.model, None
        if model is not None and STEP not in columns:
            self._recorder.describe(weights=weights_fingerprint(self._forward.backend, model))

    def _check_budget(self, started: Started, total: int | None) -> None:
        try:
            self._budget.check(self._recorder.row_bytes, total, self._recorder.fraction)
        except BudgetExceeded:
            self._recorder.drop(started)
            raise
        self._checked = True

    def _finish(self) -> None:
        started, self._under_way = self._under_way, None
        if started is not None:
            self._recorder.finish(started)


@contextmanager
def _progress_bar(name: str, show: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that moves the bar on; in a pipe or a log file there is none."""
    from tqdm.auto import tqdm

    in_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
    quiet = not show or not (in_notebook or sys.stderr.isatty())
    with tqdm(desc=name, unit=" samples", disable=quiet, leave=False) as bar:

        def advance(rows: int, total: int | None) -> None:
            if bar.total is None and total is not None:
                bar.total = total
            bar.update(rows)

        yield advance
