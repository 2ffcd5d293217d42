"""capture() and layers(): a model and patterns in, a forward that also gives activations out."""

from __future__ import annotations

from typing import Any

from actlens.activations import Activations, LayerInfo, Report, layer_table
from actlens.backend import Backend, backend_of
from actlens.backend import Forward as ForwardFunction
from actlens.errors import CaptureError, EmptyCapture, LayerNeverFired, NoLayerMatches
from actlens.selection import Layers, Selection


class LayerTable(dict[str, LayerInfo]):
    """Key → LayerInfo, in the order of the forward; prints as a table."""

    def __str__(self) -> str:
        if not self:  # Flax Linen
            return "No layers are known before a call. Give example inputs: actlens.layers(model, x)."
        return layer_table(self)

    __repr__ = __str__


def layers(model: Any, /, *args: Any, **kwargs: Any) -> LayerTable:
    """List the layers of a model: path, type, shape, dtype, axes, bytes per sample.

    With example arguments the model runs once, in evaluation mode, and shapes and the order of the forward
    are known; without them, names and types. The model is left as it was.

    >>> import torch
    >>> print(layers(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.zeros(8, 4)))
    layer  type    shape  dtype    axes         bytes/sample
    0      Linear  8×2    float32  sample unit  8 B

    Raises:
        UnsupportedModel: no adapter knows the model, or its layers are hidden (traced, scripted).
    """
    return LayerTable(backend_of(model).layers(model, *args, **kwargs))


def capture(model: Any, layers: Layers, *, stop: bool = False) -> Forward:
    """Give a forward that returns `(output, activations)`.

    One call of it is one unchanged call of the model: same output, same gradients, nothing left on
    the model afterwards. `activations` maps key → the framework's own array (see actlens.activations
    for the keys); they may enter the autograd graph and are never changed by a later in-place operation.

    Args:
        model: a model of any supported framework.
        layers: a pattern (`"layer*"`; `*` stays within one part of a dotted path, `**` crosses parts), a
            list of patterns (`"!head"` excludes), a dict pattern → transform (an einops pattern, a
            function of the framework's array, or None), or a function of the path.
        stop: end the forward after the last layer that is needed; the output is then None. It presumes that
            which layers fire, and how often, follows from the shapes and plain values of the arguments.

    Raises:
        NoLayerMatches: a pattern matches nothing.
        LayerNeverFired, EmptyCapture: at the call, when a selected layer is not called or gives no array.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
    >>> output, acts = capture(model, "0")(torch.zeros(8, 4))
    >>> acts["0"].shape
    torch.Size([8, 2])
    """
    backend = backend_of(model)
    selection = Selection.of(layers)
    model_name = type(model).__name__
    known = backend.layers(model)
    if known:  # a Linen module without variables knows its layers only in the call
        stacks = [name for name, info in known.items() if info.may_be_stack]
        names = {name: info.aliases for name, info in known.items()}
        selection.check_names(model_name, names, stacks)
    return Forward(backend, backend.capture(model, selection, stop=stop), selection, model_name)


class Forward:
    """The callable that `capture` gives: `forward(*args, **kwargs) → (output, activations)`."""

    def __init__(
        self, backend: Backend, function: ForwardFunction, selection: Selection, model_name: str
    ) -> None:
        self.backend = backend
        self.selection = selection
        self.model_name = model_name
        self._function = function
        self._report: Report | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        """Call the model once."""
        output, activations = self._function(*args, **kwargs)
        self._report = activations.report
        self._check(activations)
        return output, activations

    @property
    def report(self) -> Report:
        """What the last call captured: what fired, how often, with what shape, and what was skipped."""
        if self._report is None:
            raise CaptureError.not_called_yet()
        return self._report

    def __repr__(self) -> str:
        return f"<actlens forward of {self.model_name}: {', '.join(self.selection.describe())}>"

    def _check(self, activations: Activations) -> None:
        report = activations.report
        if report is None:
            return
        if report.never_fired:
            raise LayerNeverFired.of(self.model_name, report.never_fired)
        if report.met:
            self.selection.check_names(self.model_name, dict.fromkeys(report.met, ()))
        if not report.calls and not activations:
            raise NoLayerMatches.of(self.model_name, ", ".join(self.selection.describe()), [])
        not_arrays = {key: kind for key, kind in report.skipped.items() if kind}
        if not activations and (not_arrays or not report.skipped):
            raise EmptyCapture.of(self.model_name, not_arrays)
        self.selection.check_keys(activations, report.skipped)
