"""A last batch that is smaller than the others: what is filled in, and when nothing is."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from actlens.activations import Activations
from actlens.padding import Filler


def batch(rows, *, columns=3, dtype="f4", seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(dtype)


class Steps:
    """A step that notes the shapes it was run with, as a compiler would."""

    def __init__(self, function):
        self.shapes = []
        self.function = function

    def __call__(self, arrays):
        self.shapes.append(tuple(array.shape for array in arrays))
        return Activations({"a": self.function(*arrays)}, {"a": ("sample", "unit")})

    def shaped(self, _step, arrays, *_):
        return {"a": self.function(*arrays)}


def double(x, *_):
    return x * 2


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_real_rows_come_back_and_no_shape_is_new(rows, missing):
    filler, step = Filler(), Steps(double)
    filler.run(step, [batch(rows + missing)], step.shaped)
    small = batch(rows, seed=1)
    acts = filler.run(step, [small], step.shaped)
    assert np.array_equal(acts["a"], small * 2)
    assert acts.axes == {"a": ("sample", "unit")}
    assert set(step.shapes) == {((rows + missing, 3),)}


def test_it_is_filled_with_its_own_last_row_and_with_rows_of_the_batch_before():
    given, full, small = [], batch(5), batch(2, seed=1)
    filler = Filler()
    for x in (batch(5, seed=3), full, small):
        filler.run(
            lambda arrays: given.append(arrays[0]) or Activations({"a": arrays[0] * 1}),
            [x],
            lambda _step, arrays, *_: {"a": arrays[0]},
        )
    own, others = given[-2:]
    assert np.array_equal(own[:2], small)
    assert np.array_equal(others[:2], small)
    assert (own[2:] == small[-1]).all()
    assert all((row == full).all(axis=1).any() for row in others[2:])


@pytest.mark.parametrize(
    "mixes",
    [lambda x: x - x.mean(0), lambda x: x / x.max(), lambda x: x + x[::-1], lambda x: np.cumsum(x[::-1], 0)],
)
def test_a_model_that_mixes_the_samples_runs_on_the_small_batch(mixes):
    filler, step = Filler(), Steps(mixes)
    filler.run(step, [batch(5)], step.shaped)
    small = batch(2, seed=1)
    assert np.array_equal(filler.run(step, [small], step.shaped)["a"], mixes(small))


def test_a_model_that_has_changed_meanwhile_runs_on_the_small_batch():
    filler, weight = Filler(), [1.0]
    step = Steps(lambda x: x * weight[0])
    filler.run(step, [batch(5)], step.shaped)
    weight[0] = 3.0
    assert np.array_equal(filler.run(step, [batch(2)], step.shaped)["a"], batch(2) * 3)


def test_what_all_batches_share_is_left_alone():
    filler, scale, number = Filler(), np.full((1, 3), 2, "f4"), np.float32(3)
    step = Steps(lambda s, x, n: s * x * n)
    filler.run(step, [scale, batch(5), number], step.shaped)
    assert np.array_equal(filler.run(step, [scale, batch(2), number], step.shaped)["a"], batch(2) * 6)
    assert set(step.shapes) == {((1, 3), (5, 3), ())}


@pytest.mark.parametrize(
    "later",
    [
        [batch(2), batch(3)],  # two arrays with other numbers of rows
        [batch(2, columns=4), batch(2)],  # another number of features
        [batch(2, dtype="f8"), batch(2)],
        [batch(0), batch(0)],
        [batch(7), batch(7)],
        [batch(2)],
    ],
)
def test_what_is_not_filled_up(later):
    filler, step = Filler(), Steps(double)
    filler.run(step, [batch(5), batch(5)], step.shaped)
    assert np.array_equal(filler.run(step, later, step.shaped)["a"], later[0] * 2)
    assert step.shapes[-1] == tuple(array.shape for array in later)


def test_arrays_with_first_axes_of_their_own_are_not_filled_up():
    filler, step = Filler(), Steps(double)
    filler.run(step, [batch(5), batch(8)], step.shaped)
    filler.run(step, [batch(2), batch(2)], step.shaped)
    assert step.shapes[-1] == ((2, 3), (2, 3))


def test_a_larger_batch_is_the_new_measure_and_a_smaller_one_is_not():
    filler, step = Filler(), Steps(double)
    for rows in (2, 5, 1, 4):
        assert np.array_equal(filler.run(step, [batch(rows)], step.shaped)["a"], batch(rows) * 2)
    assert set(step.shapes) == {((2, 3),), ((5, 3),)}


def test_a_value_that_is_not_the_batchs_is_given_as_it_is():
    filler = Filler()

    def step(arrays):
        return Activations({"rows": arrays[0], "table": np.arange(5), "one": np.float32(1)})

    def shaped(step, arrays, *_):
        return step(arrays)

    filler.run(step, [batch(5)], shaped)
    acts = filler.run(step, [batch(2, seed=1)], shaped)
    assert {key: np.shape(array) for key, array in acts.items()} == {"rows": (2, 3), "table": (5,), "one": ()}


def test_a_step_that_computes_with_the_size_runs_on_the_small_batch():
    filler, step = Filler(), Steps(lambda x: x / len(x))
    filler.run(step, [batch(5)], step.shaped)
    small = batch(2, seed=1)
    assert np.array_equal(filler.run(step, [small], lambda *_: None)["a"], small / 2)
