"""A last batch that is smaller than the others: what is filled in, and when nothing is."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from actlens.padding import Filler


def batch(rows, *, columns=3, dtype="f4"):
    return np.arange(rows * columns, dtype=dtype).reshape(rows, columns) + 1


@given(st.integers(1, 9), st.integers(1, 9))
def test_real_rows_come_first_and_the_rest_is_filled_in_two_ways(rows, missing):
    filler = Filler()
    full = batch(rows + missing) * 100
    assert filler.fill([full]) is None
    small = batch(rows)
    filled = filler.fill([small])
    assert filled is not None
    assert (filled.rows, filled.size) == (rows, rows + missing)
    for (way,) in (filled.own, filled.others):
        assert way.shape == full.shape
        assert np.array_equal(way[:rows], small)
    assert (filled.own[0][rows:] == small[-1]).all()
    assert all((row == full).all(axis=1).any() for row in filled.others[0][rows:])
    assert not np.array_equal(filled.own[0], filled.others[0])


def test_what_all_batches_share_is_left_alone():
    filler, scale, number = Filler(), np.ones((1, 3)), np.float32(2)
    filler.fill([scale, batch(5), number])
    filled = filler.fill([scale, batch(2), number])
    assert filled is not None
    assert filled.own[0] is scale
    assert filled.own[2] is number
    assert (filled.rows, filled.size) == (2, 5)


@pytest.mark.parametrize(
    "later",
    [
        [batch(5), batch(5)],  # nothing is smaller
        [batch(2), batch(3)],  # two arrays with other numbers of rows
        [batch(2, columns=4), batch(2)],  # another number of features
        [batch(2, dtype="f8"), batch(2)],
        [batch(0), batch(0)],
        [batch(7), batch(7)],
        [batch(2)],
        [],
    ],
)
def test_what_is_not_filled_up(later):
    filler = Filler()
    filler.fill([batch(5), batch(5)])
    assert filler.fill(later) is None


def test_arrays_with_first_axes_of_their_own_are_not_filled_up():
    filler = Filler()
    filler.fill([batch(5), batch(8)])
    assert filler.fill([batch(2), batch(2)]) is None


def test_a_larger_batch_is_the_new_measure():
    filler = Filler()
    filler.fill([batch(2)])
    assert filler.fill([batch(5)]) is None
    filled = filler.fill([batch(4)])
    assert filled is not None
    assert filled.size == 5
