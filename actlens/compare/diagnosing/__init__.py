"""What may be wrong with a layer that differs: each mistake is tried on the numbers, one a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from actlens.compare.diagnosing.activation import activation
from actlens.compare.diagnosing.batch_norm import batch_norm, likely_eps, not_finite
from actlens.compare.diagnosing.channels import channels
from actlens.compare.diagnosing.convolution import convolution, elsewhere
from actlens.compare.diagnosing.dense import dense
from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.dropout import dropout
from actlens.compare.diagnosing.evidence import Evidence, constant
from actlens.compare.diagnosing.half_precision import half_precision
from actlens.compare.diagnosing.one_number import one_number
from actlens.compare.diagnosing.pooling import pooling
from actlens.compare.diagnosing.row_order import row_order
from actlens.compare.diagnosing.sample_norm import sample_norm
from actlens.compare.diagnosing.scale import scale
from actlens.compare.diagnosing.shifted import shifted
from actlens.compare.diagnosing.transposed import back_to_front, factors_exchanged, transposed

__all__ = ["Diagnosis", "diagnosed"]

_Mistake = Callable[[Evidence], Diagnosis | None]

# What says more comes before what fits more: a norm's other eps is a line in each channel too.
_OF_ONE_NUMBER: tuple[_Mistake, ...] = (half_precision, one_number)  # any function takes one to one
_OF_VALUES: tuple[_Mistake, ...] = (half_precision, row_order, transposed, back_to_front, scale)
_OF_INPUT: tuple[_Mistake, ...] = (
    activation, batch_norm, sample_norm, dense, convolution, pooling, transposed,
)  # fmt: skip
_WHATEVER: tuple[_Mistake, ...] = (activation, dropout, shifted, factors_exchanged, channels)
_WITHOUT_INPUT: tuple[_Mistake, ...] = (*_WHATEVER, likely_eps, elsewhere)


def diagnosed(layer: Evidence, with_inputs: Iterable[Evidence]) -> Diagnosis | None:
    """Give the first mistake that is confirmed, else the first that is likely; None where none is.

    `layer` is without an input; `with_inputs` is the same layer with each that may be its input, looked at
    one by one. Rows with NaN or inf are left out, but for the mistake that makes them.
    """
    likely: list[Diagnosis] = []
    # Values may be so large that their products are inf: nothing is confirmed by those.
    with np.errstate(over="ignore", invalid="ignore"):
        for evidence, mistakes in _stages(layer, with_inputs):
            fits = evidence.a.shape == evidence.b.shape
            for mistake in mistakes if fits else (transposed,):
                found = _tried(mistake, evidence)
                if found is not None and found.sure:
                    return found
                likely += [found] if found is not None else []
    return likely[0] if likely else None


def _tried(mistake: _Mistake, evidence: Evidence) -> Diagnosis | None:
    try:
        return mistake(evidence)
    except np.linalg.LinAlgError:  # products that are inf
        return None


def _stages(
    layer: Evidence, with_inputs: Iterable[Evidence]
) -> Iterator[tuple[Evidence, tuple[_Mistake, ...]]]:
    finite = layer.finite()
    if finite is not None and (constant(finite.a) or constant(finite.b)):
        yield finite, _OF_ONE_NUMBER
        return
    if finite is not None:
        yield finite, _OF_VALUES
    alone = True
    for evidence in with_inputs:
        alone = False
        whole = evidence.finite()
        if whole is not evidence:
            yield evidence, (not_finite,)
        if whole is not None:
            yield whole, _OF_INPUT
    if finite is not None:
        yield finite, _WITHOUT_INPUT if alone else _WHATEVER
