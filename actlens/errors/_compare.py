"""Errors of measures: options, and what a measure cannot be computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actlens.errors._base import brief, listed
from actlens.errors._joining import JoinedErrors


class CompareError(JoinedErrors):
    """Layers that cannot be compared: other samples, other axes, or a measure that does not fit them."""

    @classmethod
    def no_option(cls, measure: str, option: str, known: Iterable[str]) -> CompareError:
        """with_options of what the measure does not have."""
        return cls(f"compare.{measure} has no option {option!r}. It has: {listed(known)}.")

    @classmethod
    def option(cls, measure: str, option: str, given: object, allowed: str) -> CompareError:
        """An option of another kind."""
        return cls(f"compare.{measure}: {option}={given!r}; it takes {allowed}.")

    @classmethod
    def not_a_measure(cls, feature: str, given: object, known: Iterable[str]) -> CompareError:
        """`measure=` of a name, or of a function."""
        names = listed(f"compare.{name}" for name in known)
        return cls(f"{feature}: measure={given!r} is no measure. Give one of {names}.")

    @classmethod
    def too_many_rows(cls, name: str, rows: int, size: int, most: int) -> CompareError:
        """A matrix of all pairs of rows that no memory holds."""
        return cls(
            f"{name} of {rows:,} rows needs {size / 2**30:.1f} GiB for each layer; at most {most / 2**30:.0f} GiB are used. "
            "Take fewer samples by id, the same on both sides, e.g. run.take(slice(0, 10_000)); or use compare.cka or "
            "compare.rsa as they are, which stream."
        )

    @classmethod
    def too_costly(cls, feature: str, what: str, flops: float, most: float) -> CompareError:
        """Neither way is cheap: many rows and wide layers."""
        return cls(
            f"{feature}: {what} take about {flops:.2g} floating-point operations; at most {most:.2g} are begun. Average "
            "positions (positions='mean'), choose layers (layers=), or compare fewer samples: sample= in record(), or "
            "run.take(rows)."
        )

    @classmethod
    def too_wide(cls, feature: str, layer: str, features: int, size: int, most: int) -> CompareError:
        """A covariance, or a whole layer, that no memory holds."""
        return cls(
            f"{feature}: layer {layer!r} has {features:,} features, and this measure would need {size / 2**30:.1f} GiB for it; "
            f"{most / 2**30:.0f} GiB are used. Average positions (positions='mean'), or use compare.cka, which needs no such "
            "matrix."
        )

    @classmethod
    def no_z(cls, title: str) -> CompareError:
        """`.z` of a measure whose null is not known."""
        return cls(
            f"z is of debiased CKA, whose values for unrelated layers are known exactly; this is {title}. Use "
            ".pvalue(permutations=1000)."
        )

    @classmethod
    def z_of_positions(cls, rows: int, samples: int) -> CompareError:
        """Rows of one sample are not exchangeable."""
        return cls(
            f"z takes rows that could be exchanged; these {rows:,} rows are positions of {samples:,} samples, which are alike "
            "within each. Use .pvalue(permutations=1000), which shuffles whole samples."
        )

    @classmethod
    def cannot_write(cls, path: object, why: object) -> CompareError:
        """The file system refuses, or it cannot be stored."""
        return cls(f"cannot write {str(path)!r}: {why}.")

    @classmethod
    def not_saved(cls, path: object, why: object) -> CompareError:
        """No such file, or not one of these."""
        return cls(
            f"{str(path)!r} is not what was saved: {why}. Comparison.save and Moments.save write such files."
        )

    @classmethod
    def not_a_path(cls, verb: str, given: object) -> CompareError:
        """Something else than a path."""
        return cls(f"{verb} takes the path of a file; got {given!r}.")

    @classmethod
    def newer(cls, path: object, found: int, known: int) -> CompareError:
        """Written by a later actlens."""
        return cls(
            f"{str(path)!r} has format {found}; this actlens reads up to {known}: pip install --upgrade actlens."
        )

    @classmethod
    def no_activations(cls, feature: str) -> CompareError:
        """A comparison without what it is of."""
        return cls(
            f"{feature} needs the activations, and this comparison was read from a file or made of moments: call "
            "compare.matrix with the recordings."
        )

    @classmethod
    def no_column(cls, feature: str, column: str, columns: Iterable[object]) -> CompareError:
        """`groups=` of a column that a has not got."""
        return cls(f"{feature}: a has no column {column!r}. Its columns: {listed(columns)}.")

    @classmethod
    def group_rows(cls, feature: str, shape: tuple[int, ...], rows: int) -> CompareError:
        """`groups=` of another number of rows."""
        return cls(
            f"{feature}: groups has shape {shape}; it takes one value for each of the {rows:,} rows that are compared, in the "
            "order of their ids, or the name of a column."
        )

    @classmethod
    def few_groups(cls, feature: str, groups: int, movable: int, least: int) -> CompareError:
        """Groups of all sizes cannot change places."""
        return cls(
            f"{feature}: of {groups} groups, {movable} have as many rows as another and can change places with it; at least "
            f"{least} must. Compare averages (positions='mean'), or groups of equal sizes."
        )

    @classmethod
    def count(cls, feature: str, option: str, given: object) -> CompareError:
        """A number of permutations or resamples that is none."""
        return cls(f"{feature}: {option}={given!r}; it takes a whole number, 1000 say.")

    @classmethod
    def level(cls, feature: str, given: object) -> CompareError:
        """A confidence level that is none."""
        return cls(f"{feature}: level={given!r}; it takes a number between 0 and 1, 0.95 say.")

    @classmethod
    def no_values(cls, feature: str) -> CompareError:
        """All cells are NaN."""
        return cls(f"{feature}: no pair of layers has a value; .reasons says why.")

    @classmethod
    def no_bootstrap(cls, title: str) -> CompareError:
        """A measure whose resamples mean something else."""
        return cls(
            "bootstrap is of debiased compare.cka, and of compare.rsa by 'pearson' or 'cosine', whose estimate can leave out samples "
            f"that are drawn twice; this is {title}. Use .pvalue, or compare several halves of the samples: run.take(rows)."
        )

    @classmethod
    def batch_axes(cls, feature: str, layer: str, shape: tuple[int, ...]) -> CompareError:
        """A batch that is not (rows, features), or not in memory."""
        return cls(
            f"{feature}: layer {layer!r} has shape {shape}; a batch is an array (rows, features). Average or flatten the other "
            "axes; compare.matrix takes layers of recordings."
        )

    @classmethod
    def batch_rows(cls, feature: str, counts: Mapping[str, int]) -> CompareError:
        """Layers of one batch with other rows, or with none."""
        shown = listed(f"{name}: {count}" for name, count in counts.items())
        return cls(
            f"{feature}: all layers of a batch must have the same rows, and at least one; got {shown}."
        )

    @classmethod
    def batch_not_finite(cls, feature: str, layer: str, rows: Iterable[int], count: int) -> CompareError:
        """NaN or inf in a batch."""
        return cls(
            f"{feature}: layer {layer!r} has NaN or inf in {count} rows of the batch: {listed(rows)}. Nothing of it was added; "
            "leave these rows out on both sides."
        )

    @classmethod
    def other_layers(cls, feature: str, before: Mapping[str, int], now: Mapping[str, int]) -> CompareError:
        """Another batch with other layers."""
        old, new = (listed(f"{name}: {width}" for name, width in each.items()) for each in (before, now))
        return cls(
            f"{feature}: layers and features so far are {old}; this batch has {new}. They must be the same."
        )

    @classmethod
    def fold_ids(cls, feature: str, shape: tuple[int, ...] | None, rows: int) -> CompareError:
        """Folds go by the ids."""
        seen = "none were given" if shape is None else f"ids has shape {shape}"
        return cls(
            f"{feature}: folds go by the ids of the samples, and {seen}. Give ids=, one for each of the {rows} rows."
        )

    @classmethod
    def not_moments(cls, given: object) -> CompareError:
        """merge() with something else."""
        return cls(f"merge takes Moments; got {type(given).__name__}.")

    @classmethod
    def other_moments(cls, mine: object, theirs: object) -> CompareError:
        """Moments of other layers."""
        return cls(
            f"these moments are of other layers, features or folds: {brief(mine)} and {brief(theirs)}. Only passes over the same "
            "layers can be merged."
        )

    @classmethod
    def needs_rows(cls, title: str) -> CompareError:
        """A measure that is no sum over rows."""
        return cls(f"{title} needs all rows at once and does not follow from moments: use compare.matrix.")

    @classmethod
    def other_folds(cls, wanted: int, have: int) -> CompareError:
        """compare.ridge of other folds."""
        return cls(
            f"compare.ridge with folds={wanted} needs moments of as many; these have {have}. Sum up with "
            f"compare.Moments(folds={wanted}), or use compare.ridge.with_options(folds={have})."
        )
