"""Which axes of a layer hold features and which positions, and one order for them in every framework."""

from __future__ import annotations

FEATURES = ("channel", "unit", "feature", "features")  # axes that hold what a layer computes
POSITIONS = ("flatten", "mean", "samples")


def feature_axis(axes: tuple[str, ...]) -> str:
    """Name the axis of the features: one that is called so, or the last.

    >>> feature_axis(("sample", "channel", "height", "width")), feature_axis(("sample", "axis1", "axis2"))
    ('channel', 'axis2')
    """
    named = [axis for axis in axes[1:] if axis in FEATURES]
    return named[-1] if named else axes[-1]


def in_one_order(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Give the axes behind the samples in an order that does not depend on how they are stored.

    Positions by name, then the features: so NCHW and NHWC meet. Axes without names stay as they are.

    >>> in_one_order(("sample", "channel", "height", "width"))
    ('height', 'width', 'channel')
    """
    rest = axes[1:]
    if len(rest) < 2 or any(unnamed(axis) for axis in rest):
        return rest
    if any(axis in FEATURES for axis in rest):
        last = feature_axis(axes)
        return (*sorted(axis for axis in rest if axis != last), last)
    return tuple(sorted(rest))


def unnamed(axis: str) -> bool:
    """Say whether an axis has only a number for a name: 'axis1'."""
    return axis.startswith("axis") and axis[4:].isdigit()
