"""Pairs of layers as they come: related, of any width and dtype, with dead units and far means."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int32": np.int32,
    "int8": np.int8,
}
_FAREST = {
    "float64": 1000.0,
    "float32": 1000.0,
    "float16": 100.0,
    "bfloat16": 10.0,
    "int32": 1000.0,
    "int8": 2.0,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """What two layers are like; `distinct` of the `units` differ, the others repeat them or are dead."""

    seed: int
    rows: int
    units: tuple[int, int]
    distinct: tuple[int, int]
    far: float
    dtypes: tuple[str, str]
    alike: float

    def layers(self):
        """Make x (rows, units[0]) and y (rows, units[1])."""
        rng = np.random.default_rng(self.seed)
        shared = rng.standard_normal((self.rows, max(self.distinct)))
        found = []
        for units, distinct, dtype in zip(self.units, self.distinct, self.dtypes, strict=True):
            own = rng.standard_normal((self.rows, distinct))
            turned = shared[:, :distinct] @ np.linalg.qr(rng.standard_normal((distinct, distinct)))[0]
            spread = rng.uniform(0.3, 3.0, distinct)
            mixed = (self.alike * turned + (1 - self.alike) * own) * spread
            mixed += self.far * _FAREST[dtype] * rng.standard_normal(distinct)
            which = np.concatenate([np.arange(distinct), rng.integers(0, distinct, units - distinct)])
            x = mixed[:, which] * np.where(np.arange(units) < distinct, 1, rng.choice([-1, 0, 1], units))
            whole = np.issubdtype(DTYPES[dtype], np.integer)
            limit = 127 if dtype == "int8" else np.inf
            found.append((np.clip(np.round(10 * x), -limit, limit) if whole else x).astype(DTYPES[dtype]))
        return found


@st.composite
def cases(draw, dtypes=tuple(DTYPES), rows=(8, 60), units=(1, 80)):
    """Draw a Case."""
    widths = draw(st.tuples(st.integers(*units), st.integers(*units)))
    return Case(
        seed=draw(st.integers(0, 2**32 - 1)),
        rows=draw(st.integers(*rows)),
        units=widths,
        distinct=tuple(draw(st.integers(1, width)) for width in widths),
        far=draw(st.sampled_from([0.0, 0.1, 1.0])),
        dtypes=draw(st.tuples(st.sampled_from(dtypes), st.sampled_from(dtypes))),
        alike=draw(st.sampled_from([0.0, 0.5, 0.9])),
    )
