"""Resuming: the rest is recorded as if nothing had happened; what has changed is refused, field by field."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import actlens
from actlens.errors import BudgetExceeded, RecordingError
from actlens.fingerprint import function_fingerprint
from actlens.recorder import Recorder

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
BATCHES = [
    (X[at : at + 7], torch.arange(at, min(at + 7, 60)), torch.arange(at, min(at + 7, 60)) % 3)
    for at in range(0, 60, 7)
]
OPTIONS = {
    "layers": {"0": None, "2": "b d -> b d"},
    "columns": ["id", "label"],
    "sample": 0.8,
    "shard_bytes": 300,
}


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def _same(a, b):
    """Row for row: ids, columns, layers."""
    assert a.ids.tolist() == b.ids.tolist()
    assert {name: value.tolist() for name, value in a.columns.items()} == {
        name: value.tolist() for name, value in b.columns.items()
    }
    assert {key: a[key][:].tobytes() for key in a} == {key: b[key][:].tobytes() for key in b}
    assert a.layers == b.layers


class _Stopped(Exception):
    pass


def _until(batches, count):
    yield from batches[:count]
    raise _Stopped


@pytest.mark.parametrize("stops", [[0], [1], [5], [8], [2, 2, 6], [1, 3, 4, 8]])
def test_an_interrupted_run_equals_one_that_was_not(tmp_path, stops):
    whole = actlens.record(model(), BATCHES, tmp_path / "whole", **OPTIONS)
    for count in stops:
        with pytest.raises(_Stopped):
            actlens.record(model(), _until(BATCHES, count), tmp_path / "r", resume=True, **OPTIONS)
    run = actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **OPTIONS)
    _same(run, whole)
    assert run.info["sealed"]
    again = actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **OPTIONS)
    _same(again, whole)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flushes=st.lists(st.integers(0, 12), max_size=4),
    size=st.integers(1, 9),
    steps=st.integers(1, 2),
    text=st.booleans(),
)
def test_any_interruptions_of_a_recorder(tmp_path_factory, flushes, size, steps, text):
    """Whatever was flushed when a Recorder was abandoned, and whatever the batches are the next time."""
    path = tmp_path_factory.mktemp("resume") / "r"
    values = np.arange(24.0).reshape(12, 2)
    names = [f"n{i}" for i in range(12)] if text else [*range(12)]

    def write(rec, step, until):
        for at in range(0, until, size):
            rows = slice(at, min(at + size, until))
            rec.write({"a": values[rows] + step}, id=names[rows], step=step)

    for until in flushes:
        rec = Recorder(path, resume=True, durability="rename")
        for step in range(steps):
            write(rec, step, until)
            rec.flush()
        rec.write({"a": values[:1] - 1}, id=["lost"] if text else [-1], step=99)
        rec.abandon()
    with Recorder(path, resume=True, durability="rename") as rec:
        for step in range(steps):
            write(rec, step, 12)
    run = actlens.open(path, verify="all")
    for step in range(steps):
        some = run.sel(step=step)
        assert some.ids.tolist() == names
        assert (some["a"][:] == values + step).all()
    assert run.rows == 12 * steps


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of jax, about fork
def test_a_killed_process_is_gone_on_with(tmp_path):
    whole = actlens.record(model(), BATCHES, tmp_path / "whole", **OPTIONS)
    child = os.fork()
    if child == 0:
        with Recorder(tmp_path / "r", sample=0.8, shard_bytes=300) as rec:
            for x, ids, labels in BATCHES[:5]:
                with torch.no_grad():
                    hidden = model()[0](x)
                    acts = {"0": hidden, "2": model()[2](hidden.relu())}
                rec.write(acts, id=ids, label=labels)
            os._exit(9)
    os.waitpid(child, 0)
    with Recorder(tmp_path / "r", sample=0.8, resume=True) as rec:
        for x, ids, labels in BATCHES:
            with torch.no_grad():
                hidden = model()[0](x)
                acts = {"0": hidden, "2": model()[2](hidden.relu())}
            rec.write(acts, id=ids, label=labels)
    run = actlens.open(tmp_path / "r")
    assert run.ids.tolist() == whole.ids.tolist()
    np.testing.assert_allclose(run["2"][:], whole["2"][:], rtol=1e-6)


class Other(nn.Sequential):
    pass


CHANGES = [
    ({"sample": 0.7}, "sample= was '0.8' in the rows recorded so far and is '0.7' now"),
    ({"seed": 3}, "seed= was 0 .* is 3 now"),
    ({"dtype": "float16"}, "dtype= was None .* is 'float16' now"),
    ({"sample": 0.7, "seed": 3}, "sample= was '0.8' .*; seed= was 0 .* is 3 now"),
    ({"layers": {"0": None}}, r"layers\['2'\]= was 'b d -> b d' .* is 'absent' now"),
    ({"layers": ["0", "2"]}, r"layers\['2'\]= was 'b d -> b d' .* is None now"),
    ({"layers": {"0": None, "2": "b d -> b"}}, r"layers\['2'\]= was 'b d -> b d' .* is 'b d -> b' now"),
    ({"layers": {"0": None, "2": abs}}, r"layers\['2'\]= was 'b d -> b d' .* is 'function abs"),
    ({"columns": ["id", "group"]}, r"the set of columns was .*label.* and is .*group"),
    ({"columns": ["key", "label"]}, "ids were given for some batches and not for others|set of columns"),
]


@pytest.mark.parametrize(("change", "text"), CHANGES)
def test_what_has_changed_is_refused_field_by_field(tmp_path, change, text):
    with pytest.raises(_Stopped):
        actlens.record(model(), _until(BATCHES, 6), tmp_path / "r", **OPTIONS)
    before = sorted(str(path) for path in (tmp_path / "r").rglob("*"))
    with pytest.raises((RecordingError, ValueError), match=text):
        actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **OPTIONS | change)
    assert sorted(str(path) for path in (tmp_path / "r").rglob("*")) == before


def test_another_model_or_other_weights_are_refused(tmp_path):
    with pytest.raises(_Stopped):
        actlens.record(model(), _until(BATCHES, 6), tmp_path / "r", **OPTIONS)
    with pytest.raises(RecordingError, match="model= was 'Sequential' .* is 'Other' now"):
        actlens.record(Other(*model()), BATCHES, tmp_path / "r", resume=True, **OPTIONS)
    with pytest.raises(RecordingError, match="weights= was '[0-9a-f]{16}' .* is '[0-9a-f]{16}' now"):
        actlens.record(model(seed=1), BATCHES, tmp_path / "r", resume=True, **OPTIONS)
    wide = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2))
    with pytest.raises(RecordingError, match="weights= was"):
        actlens.record(wide, BATCHES, tmp_path / "r", resume=True, **OPTIONS)
    assert actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **OPTIONS).info["sealed"]


def test_another_function_is_refused(tmp_path):
    def scaled(by):
        return {"0": lambda array: array * by}

    options = {**OPTIONS, "layers": scaled(2)}
    with pytest.raises(_Stopped):
        actlens.record(model(), _until(BATCHES, 6), tmp_path / "r", **options)
    with pytest.raises(
        RecordingError, match=r"layers\['0'\]= was 'function .*lambda.*' .* is 'function .*lambda"
    ):
        actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **{**options, "layers": scaled(3)})
    run = actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **{**options, "layers": scaled(2)})
    np.testing.assert_allclose(run["0"][:], 2 * model()[0](X).detach().numpy()[run.ids], rtol=1e-6)


def test_a_later_step_has_other_weights(tmp_path):
    options = {"layers": "2", "columns": ["id", "label"]}
    for step in range(2):
        actlens.record(model(seed=step), BATCHES, tmp_path / "r", step=step, resume=True, **options)
    run = actlens.open(tmp_path / "r")
    for step in range(2):
        wanted = model(seed=step)(X).detach().numpy()
        np.testing.assert_allclose(run.sel(step=step)["2"][:], wanted, rtol=1e-5, atol=1e-6)


def test_a_budget_that_was_used_up_is_gone_on_with(tmp_path):
    options = {"layers": "0", "columns": ["id", "label"]}
    with pytest.raises(BudgetExceeded):
        actlens.record(model(), iter(BATCHES), tmp_path / "r", budget=1000, **options)
    run = actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **options)
    assert run.ids.tolist() == [*range(60)]


class _Times:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, array):
        return array * self.factor

    def method(self, array):
        return array * self.factor


def _around(value):
    return lambda array: array * value


def _only_by_name(value):
    def transform(array, *, factor=value):
        return array * factor

    return transform


def _of_module(factor):
    return FunctionType((lambda array: array * np).__code__, {"np": factor})


def _wrapped(factor):
    def base(array):
        return array

    @functools.wraps(base)
    def transform(array):
        return base(array) * factor

    return transform


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.relu, torch.sigmoid),
        (functools.partial(torch.mul, other=2), functools.partial(torch.mul, other=3)),
        (_Times(2), _Times(3)),
        (_Times(2).method, _Times(3).method),
        (_around(torch.ones(1)), _around(torch.zeros(1))),
        (_around([1, 2]), _around([2, 1])),
        (_only_by_name(2), _only_by_name(3)),
        (_wrapped(2), _wrapped(3)),
        (lambda array: array[:, (0, 1)], lambda array: array[:, (1, 0)]),
        (_of_module(1), _of_module(2)),
        (nn.AvgPool1d(2), nn.AvgPool1d(4)),
    ],
)
def test_a_function_is_told_from_another(before, after):
    assert function_fingerprint(before) != function_fingerprint(after)


def test_a_function_is_the_same_in_every_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import functools, torch\n"
        "from torch import nn\n"
        "from actlens.fingerprint import function_fingerprint as f\n"
        "net, names, parts = nn.Linear(2, 2), {'a', 'bc', 'd'}, [1, object()]\n"
        "def again(x): return again(x) if 'a' in names else net(parts)\n"
        "print(f(again), f(nn.ReLU()), f(functools.partial(again, 1)), f(torch.relu))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1


def test_training_does_not_make_another_function_of_one_that_calls_the_model():
    net = model()
    transform = _around(net)
    before = function_fingerprint(transform)
    net.train()
    with torch.no_grad():
        net[2].weight += 1
    assert function_fingerprint(transform) == before


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"layers": {"2": "b d -> b d", "0": None}}, "the order of layers="),
        ({"sample": lambda ids: ids % 2 == 1}, "sample="),
    ],
)
def test_order_and_sample_function_are_refused(tmp_path, changed, match):
    first = {**OPTIONS, "sample": lambda ids: ids % 2 == 0} if "sample" in changed else OPTIONS
    with pytest.raises(_Stopped):
        actlens.record(model(), _until(BATCHES, 5), tmp_path / "r", **first)
    with pytest.raises(RecordingError, match=match):
        actlens.record(model(), BATCHES, tmp_path / "r", resume=True, **{**first, **changed})


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of jax, about fork
def test_a_child_process_that_lives_on_does_not_hold_the_recording(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write({"a": np.ones((2, 2))})
        child = os.fork()
        if not child:
            signal.pause()
    try:
        Recorder(tmp_path / "r", resume=True).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lazy_model_and_what_it_caches(tmp_path):
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.LazyLinear(3)
            self.register_buffer("last", torch.zeros(4), persistent=False)

        def forward(self, x):
            self.last = x[0] + 1
            return self.fc(x)

    net = Caching()
    with pytest.raises(_Stopped):
        actlens.record(net, _until(BATCHES, 1), tmp_path / "lazy", layers="fc", columns=["id", "label"])
    options = {"layers": "fc", "columns": ["id", "label"], "shard_bytes": 100}
    with pytest.raises(_Stopped):
        actlens.record(net, _until(BATCHES, 5), tmp_path / "r", **options)
    assert actlens.record(net, BATCHES, tmp_path / "r", resume=True, **options).rows == 60


def test_other_weights_are_refused_whatever_the_number_of_ranks(tmp_path):
    with pytest.raises(_Stopped):
        actlens.record(model(), _until(BATCHES, 6), tmp_path / "r", **OPTIONS)
    for rank in range(2):
        with pytest.raises(RecordingError, match="weights= was '[0-9a-f]{16}' .* is '[0-9a-f]{16}' now"):
            actlens.record(model(seed=1), BATCHES, tmp_path / "r", resume=True, rank=rank, ranks=2, **OPTIONS)
    for rank in range(2):
        run = actlens.record(
            model(), BATCHES[rank::2], tmp_path / "r", resume=True, rank=rank, ranks=2, **OPTIONS
        )
    assert run.info["sealed"]
    np.testing.assert_allclose(run["2"][:], model()(X).detach().numpy()[run.ids], rtol=1e-5, atol=1e-6)


def test_ranks_with_other_weights_do_not_seal_one_recording(tmp_path):
    actlens.record(model(), BATCHES[::2], tmp_path / "r", rank=0, ranks=2, **OPTIONS)
    with pytest.raises(RecordingError, match="weights= was"):
        actlens.record(model(seed=1), BATCHES[1::2], tmp_path / "r", rank=1, ranks=2, **OPTIONS)
    assert not actlens.open(tmp_path / "r").info["sealed"]


def test_steps_in_the_batches_may_have_other_weights_too(tmp_path):
    for step in range(2):
        batches = [{"x": x, "id": ids, "step": [step] * len(ids)} for x, ids, _ in BATCHES]
        actlens.record(model(seed=step), batches, tmp_path / "r", layers="2", inputs="x", resume=True)
    run = actlens.open(tmp_path / "r")
    for step in range(2):
        wanted = model(seed=step)(X).detach().numpy()
        np.testing.assert_allclose(run.sel(step=step)["2"][:], wanted, rtol=1e-5, atol=1e-6)
