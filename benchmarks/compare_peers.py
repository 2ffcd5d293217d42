"""CKA of one pair of layers as other programs compute it; formulas of those that cannot be installed here are
restated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
OnePair = Callable[[Any, Any], float]


def by_width() -> OnePair:
    """ReSi and anatome on torch: ‖YᵀX‖² and two norms for each pair; Gram matrices of wide layers."""
    import torch

    def value(x: Array, y: Array) -> float:
        left, right = (torch.from_numpy(v) for v in (x, y))
        left, right = left - left.mean(0), right - right.mean(0)
        if left.shape[1] > left.shape[0]:
            k, other = left @ left.T, right @ right.T
            return float((k * other).sum() / (torch.linalg.norm(k) * torch.linalg.norm(other)))
        inner = torch.linalg.norm(right.T @ left) ** 2
        return float(inner / (torch.linalg.norm(left.T @ left) * torch.linalg.norm(right.T @ right)))

    return value


def kornblith() -> OnePair:
    """feature_space_linear_cka of Google's demo, debiased, on the given dtype."""

    def debiased(inner: Any, rows_x: Array, rows_y: Array) -> Any:
        n = len(rows_x)
        ends = np.sum(rows_x) * np.sum(rows_y) / ((n - 1) * (n - 2))
        return inner - n / (n - 2.0) * rows_x.dot(rows_y) + ends

    def value(x: Array, y: Array) -> float:
        x, y = x - np.mean(x, 0, keepdims=True), y - np.mean(y, 0, keepdims=True)
        inner = np.linalg.norm(x.T.dot(y)) ** 2
        own = [np.linalg.norm(v.T.dot(v)) for v in (x, y)]
        rows = [np.einsum("ij,ij->i", v, v) for v in (x, y)]
        above = debiased(inner, *rows)
        below = [np.sqrt(debiased(norm**2, row, row)) for norm, row in zip(own, rows, strict=True)]
        return float(above / (below[0] * below[1]))

    return value


def thingsvision() -> OnePair:
    """CKANumPy(unbiased=True): six Gram matrices a pair, each checked for symmetry."""

    def centred(gram: Array) -> Array:
        assert np.allclose(gram, gram.T, rtol=1e-3, atol=1e-4)
        n = len(gram)
        np.fill_diagonal(gram, 0.0)
        means = np.sum(gram, axis=0, dtype=np.float64) / (n - 2)
        means -= np.sum(means) / (2 * (n - 1))
        gram -= means[:, None]
        gram -= means[None, :]
        np.fill_diagonal(gram, 0.0)
        return gram

    def hsic(x: Array, y: Array) -> Any:
        return np.sum(centred(x @ x.T) * centred(y @ y.T))

    return lambda x, y: float(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def platonic() -> OnePair:
    """unbiased_cka of platonic-rep: Song's formula of Gram matrices of rows as they are, in float32."""
    import torch

    def hsic(k: Any, other: Any) -> Any:
        n = len(k)
        k, other = k.clone().fill_diagonal_(0), other.clone().fill_diagonal_(0)
        sums = torch.sum(k * other.T) + k.sum() * other.sum() / ((n - 1) * (n - 2))
        return (sums - 2 * torch.sum(torch.mm(k, other)) / (n - 2)) / (n * (n - 3))

    def value(x: Array, y: Array) -> float:
        left, right = (torch.from_numpy(v) for v in (x, y))
        k, other = left @ left.T, right @ right.T
        return float(hsic(k, other) / torch.sqrt(hsic(k, k) * hsic(other, other)))

    return value


def ckatorch() -> OnePair:
    import torch
    from ckatorch.core import cka_base

    return lambda x, y: cka_base(torch.from_numpy(x), torch.from_numpy(y), unbiased=True).item()


def rsatoolbox() -> OnePair:
    import rsatoolbox as toolbox

    def value(x: Array, y: Array) -> float:
        rdms = [toolbox.rdm.calc_rdm(toolbox.data.Dataset(v.astype("f8"))) for v in (x, y)]
        return float(np.asarray(toolbox.rdm.compare(*rdms, method="cosine_cov")).reshape(-1)[0])

    return value


def torch_cka(a: dict[str, Array], b: dict[str, Array], batch: int) -> Array:
    """All pairs at once: two models whose layers give the stored rows, compared batch by batch."""
    import os
    import warnings

    import torch
    from torch_cka import CKA

    class Stored(torch.nn.Module):
        def __init__(self, x: Array) -> None:
            super().__init__()
            self.x = torch.from_numpy(x)

        def forward(self, rows: Any) -> Any:
            return self.x[rows]

    class Model(torch.nn.Module):
        def __init__(self, side: dict[str, Array]) -> None:
            super().__init__()
            self.stored = torch.nn.ModuleDict({name: Stored(x) for name, x in side.items()})

        def forward(self, rows: Any) -> Any:
            return [layer(rows) for layer in self.stored.values()]

    rows = torch.utils.data.TensorDataset(torch.arange(len(next(iter(a.values())))))
    loader = torch.utils.data.DataLoader(rows, batch_size=batch)
    os.environ["TQDM_DISABLE"] = "1"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names = [[f"stored.{name}" for name in side] for side in (a, b)]
        cka = CKA(Model(a), Model(b), "a", "b", *names)
        cka.compare(loader)
    return np.asarray(cka.export()["CKA"])
