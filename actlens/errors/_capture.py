"""Errors of selecting layers, of running the model, and of adapters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from actlens.errors._base import ActlensError, listed


class SelectionError(ActlensError, ValueError):
    """The `layers=` argument cannot be used."""

    @classmethod
    def bad_type(cls, given: object) -> SelectionError:
        """`layers=` is none of the four forms."""
        return cls(
            f"layers= is a {type(given).__name__}; it takes a pattern ('layer*'), a list of patterns, "
            "a dict pattern → transform, or a function of the layer's path. '**' means every layer."
        )

    @classmethod
    def empty(cls) -> SelectionError:
        """`layers=[]`."""
        return cls("layers= is empty. Name at least one pattern; '**' means every layer.")

    @classmethod
    def only_exclusions(cls, patterns: Iterable[str]) -> SelectionError:
        """`layers="!drop*"` alone selects nothing."""
        return cls(f"layers= only excludes ({listed(patterns)}). Add what to keep, e.g. '**'.")


class NoLayerMatches(SelectionError):
    """A pattern that names nothing."""

    @classmethod
    def of(cls, model: str, pattern: str, names: Iterable[str], hint: str = "") -> NoLayerMatches:
        """A pattern, the model's class name, and the layers that there are."""
        names = list(names)
        if not names:
            return cls(
                f"no layer of {model} matches {pattern!r}: {model} has no layers inside it. "
                "Capture works on the layers of a model; wrap a single layer in one (torch: nn.Sequential(layer))."
            )
        return cls(
            f"no layer of {model} matches {pattern!r}. Its layers: {listed(names)}. "
            f"{hint}actlens.layers(model) lists them."
        )

    @classmethod
    def no_such_part(cls, pattern: str, keys: Iterable[str]) -> NoLayerMatches:
        """The layer fired, but has no such call or leaf."""
        return cls(
            f"{pattern!r} matches a layer, but none of what it gave: {listed(keys)}. "
            "':2' is a layer's second call, '[0]' the first item of a tuple it returned."
        )

    @classmethod
    def predicate(cls, model: str, names: Iterable[str]) -> NoLayerMatches:
        """A function said no to every path."""
        return cls(
            f"the function given as layers= is false for every layer of {model}. Its layers: {listed(names)}."
        )


class BadTransform(SelectionError):
    """A transform failed on an activation."""

    @classmethod
    def not_a_transform(cls, pattern: str, given: object) -> BadTransform:
        """A dict value of another type."""
        return cls(
            f"the transform of {pattern!r} is a {type(given).__name__}; it takes an einops pattern "
            "('b c h w -> b c'), a function of the framework's array, or None."
        )

    @classmethod
    def bad_pattern(cls, pattern: str, why: object) -> BadTransform:
        """An einops pattern that does not parse."""
        return cls(
            f"{pattern!r} is not an einops pattern ({why}). It reads 'axes -> axes', e.g. 'b c h w -> b c'; "
            "what is left out on the right is averaged."
        )

    @classmethod
    def failed(cls, key: str, transform: object, shape: object, cause: BaseException) -> BadTransform:
        """It raised on one activation."""
        return cls(
            f"the transform {transform!r} of layer {key!r} failed on its activation of shape {shape}: {cause}"
        )

    @classmethod
    def in_place(cls, key: str) -> BadTransform:
        """It wrote into the model's own tensor."""
        return cls(
            f"the transform of layer {key!r} changed the activation in place, and with it the model's own result. "
            "Let it return a new array."
        )

    @classmethod
    def not_an_array(cls, key: str, transform: object, given: object) -> BadTransform:
        """It returned something that is not an array."""
        return cls(
            f"the transform {transform!r} of layer {key!r} returned a {type(given).__name__}; "
            "it must return one array of the framework, rows first."
        )


class CaptureError(ActlensError):
    """The model ran, but what was asked for is not there."""

    @classmethod
    def same_key(cls, key: str) -> CaptureError:
        """Two captures under one name."""
        return cls(
            f"two captured values share the key {key!r}: a layer's name ends like a call or a leaf of another. "
            "Rename the layer, or select only one of them."
        )

    @classmethod
    def bad_variables(cls, model: str, cause: BaseException) -> CaptureError:
        """Variables of another module, or of another shape."""
        why = str(cause).partition(" (https://")[0].splitlines()[0].rstrip(".")
        return cls(
            f"the variables given do not fit this {model}: {why}. "
            f"Use those that this very module's init() or training gave."
        )

    @classmethod
    def no_variables(cls, model: str, given: str, call: str) -> CaptureError:
        """A module that is not bound, called without its variables."""
        return cls(
            f"this {model} is not bound to its variables, and the first argument is {given}, not variables. "
            f"Call {call}, or use module.bind(variables) as the model."
        )

    @classmethod
    def not_called_yet(cls) -> CaptureError:
        """`forward.report` before the first call."""
        return cls("forward.report is known after a call: run forward(...) once first.")


class LayerNeverFired(CaptureError):
    """Layers were selected, and the forward never called them."""

    @classmethod
    def of(cls, model: str, reasons: Mapping[str, str]) -> LayerNeverFired:
        """Paths with the reason, where the adapter knows one ('' where not)."""
        lines = [f"{path} ({why})" if why else path for path, why in reasons.items()]
        every = dict.fromkeys("!" + re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path) for path in reasons)
        left_out = ", ".join(repr(pattern) for pattern in every)
        return cls(
            f"selected layers of {model} were never called in this forward: {listed(lines)}. "
            f"Leave them out, e.g. layers=['**', {left_out}], or capture the layer that contains them."
        )


class EmptyCapture(CaptureError):
    """Nothing came back."""

    @classmethod
    def of(cls, model: str, skipped: Mapping[str, str]) -> EmptyCapture:
        """What the selected layers returned instead of arrays."""
        seen = (
            listed(f"{key}: {kind}" for key, kind in skipped.items()) if skipped else "empty tuples or dicts"
        )
        return cls(
            f"the capture of {model} is empty: the selected layers returned no arrays ({seen}). "
            "Select a layer that returns an array, a tuple or a dict of arrays."
        )


class UncapturableValue(CaptureError):
    """A value that cannot leave this forward as a plain array. `key` is the layer's."""

    key: str = ""

    @classmethod
    def of(cls, key: str, what: str, remedy: str) -> UncapturableValue:
        """A sparse tensor, a tensor inside vmap, and their kind."""
        error = cls(f"layer {key!r} gave {what}, which cannot be captured as it is. {remedy}")
        error.key = key
        return error


class UnsupportedModel(ActlensError, TypeError):
    """No adapter, or a form of model whose layers cannot be seen."""

    @classmethod
    def unknown(cls, model: object, roots: Iterable[str]) -> UnsupportedModel:
        """No class in the model's ancestry belongs to a known framework."""
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        return cls(
            f"no adapter for a {kind}. actlens reads models of: {listed(roots)}. "
            "Another framework can register one through the entry-point group 'actlens.backends'."
        )

    @classmethod
    def hidden(cls, what: str, why: str, remedy: str) -> UnsupportedModel:
        """A traced, scripted or exported model."""
        return cls(f"{what} {why}. {remedy}")


class BadAdapter(ActlensError, TypeError):
    """An adapter that does not keep the Backend protocol."""

    @classmethod
    def missing(cls, module: str, names: Iterable[str]) -> BadAdapter:
        """Names of the protocol that are absent."""
        return cls(
            f"adapter {module} lacks {listed(names)} of the Backend protocol (actlens.backend.Backend)."
        )

    @classmethod
    def unknown(cls, module: str, names: Iterable[str], allowed: Iterable[str]) -> BadAdapter:
        """Names in `__all__` that the protocol does not know: mostly a typing error."""
        return cls(
            f"adapter {module} exports {listed(names)}, which the Backend protocol does not know. "
            f"It knows: {listed(allowed)}."
        )

    @classmethod
    def signature(cls, module: str, name: str, expected: str) -> BadAdapter:
        """A function with other parameters."""
        return cls(
            f"adapter {module}: {name} cannot be called as {expected}, as the Backend protocol has it."
        )
