"""Errors of ragged rows: masks and lengths that say which positions count."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors._base import listed
from actlens.errors._rows import RowsError


class MaskError(RowsError):
    """`mask=` or `lengths=` that do not fit the rows."""

    @classmethod
    def mask_and_lengths(cls) -> MaskError:
        """Both at once."""
        return cls("mask= and lengths= were both given; they say the same thing. Give one of them.")

    @classmethod
    def no_mask(cls, layer: str) -> MaskError:
        """A batch without, in a recording of ragged rows."""
        return cls(
            f"layer {layer!r} was recorded with mask= or lengths= so far, and this batch has neither. Give it in every "
            "write(); where all positions count, mask=ones."
        )

    @classmethod
    def mask_only_now(cls, name: str) -> MaskError:
        """A mask for all layers, in a recording that has none, or one for each layer."""
        return cls(
            f"{name}= is one array for all layers, and the rows recorded so far had none, or one for each layer. Give "
            "the same in every write()."
        )

    @classmethod
    def mask_of_nothing(cls, name: str, unknown: Iterable[str], layers: Iterable[str]) -> MaskError:
        """A mask, and no layer that it is about."""
        unknown = list(unknown)
        seen = (
            f"names {listed(unknown)}, which is not in the batch" if unknown else "fits no layer of the batch"
        )
        return cls(
            f"{name}= {seen}. Its layers: {listed(layers)}. A layer with positions is (samples, positions, …); "
            f"{name}={{layer: …}} names the layers, and {name}= left out stores them as they are."
        )

    @classmethod
    def bad_mask(cls, name: str, what: str, rows: int) -> MaskError:
        """A mask that is none."""
        wanted = (
            f"an array ({rows}, positions) of booleans or of 0 and 1, such as a tokenizer's attention_mask"
            if name == "mask"
            else f"one whole number for each of the {rows} rows"
        )
        return cls(f"{name}= holds {what}; it takes {wanted}.")

    @classmethod
    def mask_does_not_fit(cls, name: str, layer: str, size: int, found: int) -> MaskError:
        """A layer of another length than the mask."""
        return cls(
            f"layer {layer!r} has {found} positions, and {name}= is for {size}. Give each layer its own: "
            f"{name}={{{layer!r}: …, …}}."
        )

    @classmethod
    def no_positions(cls, layer: str, shape: object) -> MaskError:
        """A layer without a second axis."""
        return cls(
            f"layer {layer!r} of shape {shape} has no axis of positions; with mask= or lengths= it would need one. "
            "Name the layers that have: mask={layer: …}."
        )

    @classmethod
    def unclear_positions(cls, name: str, layer: str, shape: object, size: int) -> MaskError:
        """Nothing tells whether the second axis is positions or features."""
        return cls(
            f"layer {layer!r} has shape {shape}, and nothing tells whether its second axis is the {size} positions of "
            f"{name}=. Name the layers that it is about: {name}={{layer: …}}; the others are stored as they are."
        )

    @classmethod
    def reserved_columns(cls, names: Iterable[str]) -> MaskError:
        """Columns that the flat view of ragged rows has of its own."""
        return cls(
            f"{listed(names)} cannot be a column beside ragged rows: layer.tokens has columns of that name. Rename it."
        )
