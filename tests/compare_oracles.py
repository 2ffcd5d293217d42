"""The measures of actlens.compare as their papers write them: direct, slow, nothing shared with it.

Every function takes x (samples, features) and y (samples, features) of any real dtype, and gives a number.
"""

from __future__ import annotations

import numpy as np

_NOTHING = 1e-9  # of the largest: a direction that is not there


def wide(x):
    """Float64, whatever the values came in."""
    return np.asarray(x).astype(np.float64)


def centred(x):
    x = wide(x)
    return x - x.mean(axis=0)


# Kernels


def linear_gram(x):
    x = wide(x)
    return x @ x.T


def squared_distances(x):
    """D[i, j] = Σ (x_i − x_j)², by differences, so that nothing cancels."""
    x = wide(x)
    return np.stack([np.square(x - row).sum(axis=1) for row in x])


def rbf_gram(x, bandwidth):
    """google-research/representation_similarity: the median of squared distances, diagonal included."""
    distances = squared_distances(x)
    return np.exp(-distances / (2 * bandwidth**2 * np.median(distances)))


def centre(gram):
    """H K H with H = I − 11ᵀ/n."""
    n = len(gram)
    h = np.eye(n) - np.ones((n, n)) / n
    return h @ gram @ h


def u_centre(gram):
    """Székely and Rizzo 2014, definition 2: off the diagonal, sums of rows and columns go; it is zero."""
    n = len(gram)
    off = gram - np.diag(np.diag(gram))
    rows = off.sum(axis=1)
    out = off - rows[:, None] / (n - 2) - rows[None] / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return out - np.diag(np.diag(out))


def song_hsic(k, other):
    """Song et al. 2012, equation 5, term by term: the unbiased estimate HSIC₁."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    one = np.ones(n)
    third = one @ k @ one * (one @ other @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ other) + third - 2 / (n - 2) * (one @ k @ other @ one)) / (n * (n - 3))


def _aligned(k, other):
    return float((k * other).sum() / (np.linalg.norm(k) * np.linalg.norm(other)))


def cka(x, y, *, debiased=True, bandwidth=None):
    """Kornblith et al. 2019; centred rows first, which changes neither kernel and keeps the figures."""
    grams = [
        linear_gram(centred(v)) if bandwidth is None else rbf_gram(centred(v), bandwidth) for v in (x, y)
    ]
    return _aligned(*map(u_centre if debiased else centre, grams))


def hsic_cka(x, y):
    """The debiased CKA by Song's own formula."""
    k, other = (linear_gram(centred(v)) for v in (x, y))
    return float(song_hsic(k, other) / np.sqrt(song_hsic(k, k) * song_hsic(other, other)))


def permuted_mean(x, y):
    """The mean of the biased CKA over all permutations of y's rows: tr K tr L / ((n − 1) ‖K‖ ‖L‖)."""
    k, other = (centre(linear_gram(centred(v))) for v in (x, y))
    return float(np.trace(k) * np.trace(other) / ((len(k) - 1) * np.linalg.norm(k) * np.linalg.norm(other)))


# Subspaces and rotations


def procrustes(x, y, *, form="distance"):
    """Ding et al. 2021: min over rotations R of ‖X̂ − ŶR‖², of centred X̂, Ŷ with Frobenius norm 1."""
    x, y = (v / np.linalg.norm(v) for v in (centred(x), centred(y)))
    fidelity = float(np.linalg.svd(x.T @ y, compute_uv=False).sum())
    return fidelity if form == "fidelity" else 2 - 2 * fidelity


def basis(x):
    """An orthonormal basis of the columns: QR with pivoting, without the directions that are not there."""
    from scipy.linalg import qr

    q, r, _ = qr(x, mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    return q[:, size > _NOTHING * size.max(initial=0)]


def rank(x):
    """The directions that the centred rows have."""
    return basis(centred(x)).shape[1]


def correlations(x, y, *, centre_first=True):
    """Canonical correlations: the cosines between the column spaces (Björck and Golub 1973)."""
    x, y = (centred(v) if centre_first else wide(v) for v in (x, y))
    return np.linalg.svd(basis(x).T @ basis(y), compute_uv=False)


def cca(x, y, *, squared=False, centre_first=True):
    rho = correlations(x, y, centre_first=centre_first)
    return float(np.mean(rho**2 if squared else rho))


def kept(x, variance=0.99, of="variance"):
    """How many singular vectors SVCCA keeps: the fewest that reach the share."""
    s = np.linalg.svd(centred(x), compute_uv=False)
    s = s**2 if of == "variance" else s
    return int(np.flatnonzero(np.cumsum(s) >= variance * s.sum() * (1 - 1e-12))[0]) + 1


def svcca(x, y, *, variance=0.99, of="variance"):
    """Raghu et al. 2017: CCA of the leading singular directions."""
    parts = []
    for v in (x, y):
        u, s, _ = np.linalg.svd(centred(v), full_matrices=False)
        count = kept(v, variance, of)
        parts.append(u[:, :count] * s[:count])
    return cca(*parts)


def pwcca(x, y):
    """Morcos et al. 2018: weights α_i = Σ_j |⟨h_i, x_j⟩| of x's canonical variables h_i."""
    x, y = centred(x), centred(y)
    bases = basis(x), basis(y)
    u, rho, _ = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    alpha = np.abs((bases[0] @ u).T @ x).sum(axis=1)
    return float(alpha @ rho / alpha.sum())


# Maps


def linear_r2(x, y):
    """The share of y's variance that least squares on x, with an intercept, explains."""
    x, y = centred(x), centred(y)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=_NOTHING)[0]
    return float(1 - np.square(rest).sum() / np.square(y).sum())


def ridge(x, y, fold, *, alpha=0.01):
    """scikit-learn's Ridge, each fold predicted by the others; the share of the variance about their mean."""
    from sklearn.linear_model import Ridge

    x, y = wide(x), wide(y)
    lost = whole = 0.0
    for number in np.unique(fold):
        test, train = fold == number, fold != number
        middle = x[train].mean(axis=0)
        penalty = alpha * train.sum() * x[train].var(axis=0).mean()
        found = Ridge(penalty, solver="svd").fit(x[train] - middle, y[train])
        guess = found.predict(x[test] - middle).reshape(y[test].shape)
        lost += np.square(y[test] - guess).sum()
        whole += np.square(y[test] - y[train].mean(axis=0)).sum()
    return float(1 - lost / whole)


# Distances and neighbours


def rsa(x, y, *, comparison="pearson"):
    """Kriegeskorte et al. 2008, of squared Euclidean distances between rows."""
    from scipy.spatial.distance import pdist
    from scipy.stats import pearsonr, spearmanr

    # Whole numbers stay whole, so that equal distances are equal; far means of others would cost figures.
    d, e = (pdist(wide(v) if np.asarray(v).dtype.kind in "iu" else centred(v), "sqeuclidean") for v in (x, y))
    if comparison == "cosine":
        return float(d @ e / (np.linalg.norm(d) * np.linalg.norm(e)))
    return float({"pearson": pearsonr, "spearman": spearmanr}[comparison](d, e).statistic)


def neighbours(x, k):
    """The k nearest other rows of each; of equal distances the lower row."""
    distances = squared_distances(centred(x))
    found = []
    for row, own in enumerate(distances):
        others = np.delete(np.arange(len(own)), row)
        found.append(set(others[np.argsort(own[others], kind="stable")[:k]].tolist()))
    return found


def mutual_knn(x, y, *, k=10):
    """Huh et al. 2024: the mean share of common neighbours."""
    pairs = zip(neighbours(x, k), neighbours(y, k), strict=True)
    return float(np.mean([len(a & b) / k for a, b in pairs]))


def mutual_knn_bounds(x, y, *, k=10):
    """The least and the most that mutual_knn can be where distances are equal: any of the equal may count."""
    low = high = 0
    for own, other in zip(*map(_sure_and_possible, (x, y), (k, k)), strict=True):
        low += len(own[0] & other[0])
        high += min(k, len(own[1] & other[1]))
    return low / (k * len(x)), high / (k * len(x))


def _sure_and_possible(x, k):
    distances = squared_distances(centred(x))
    np.fill_diagonal(distances, np.inf)
    last = np.sort(distances, axis=1)[:, k - 1]
    slack = 1e-9 * last
    rows = zip(distances, last, slack, strict=True)
    return [
        (set(np.flatnonzero(own < at - by).tolist()), set(np.flatnonzero(own <= at + by).tolist()))
        for own, at, by in rows
    ]
