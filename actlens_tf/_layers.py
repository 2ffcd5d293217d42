"""layers(): what there is in a model, and with example arguments, in which order and shape it fires."""

from __future__ import annotations

from typing import Any

import keras

from actlens.activations import LayerInfo, Report, Tape
from actlens.errors import ActlensError
from actlens.listing import Everything, listing
from actlens_tf._capture import Ears
from actlens_tf._framework import framework
from actlens_tf._inputs import native
from actlens_tf._losses import kept_losses
from actlens_tf._model import check_built, check_model
from actlens_tf._naming import Place, is_rnn, places
from actlens_tf._values import Kept, is_array, sizes

_BYPASSED = "the model may use its weights itself, or call it in another mode"


def layers(model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
    """Give path → LayerInfo. With example arguments: every key in the order of the forward, with shapes.

    The model is traced once, in inference mode, and computes nothing, except on PyTorch; its weights, its
    statistics and its random seeds are as before. Layers that it does not call come last, with a note.

    Raises:
        UnsupportedModel: the layers cannot be heard, or with an example, have no weights yet.
    """
    found = {place.path: place for place in places(check_model(model))}
    if not args and not kwargs:
        return {
            path: LayerInfo(place.type, note=_beforehand(place), aliases=place.aliases)
            for path, place in found.items()
        }
    check_built(model)
    report, partly = _report(model, args, kwargs)
    known = {
        path: LayerInfo(place.type, note=partly.get(path, ""), aliases=place.aliases)
        for path, place in found.items()
    }
    return listing(report, known, why_not=dict.fromkeys(found, _BYPASSED))


def _beforehand(place: Place) -> str:
    """Say what is known without a run: the loop of an RNN is a graph, except on PyTorch."""
    in_graph = keras.backend.backend() != "torch" and place.loop is not None and is_rnn(place.loop.layer)
    return place.why_inside if in_graph else place.why_not


def _report(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Report, dict[str, str]]:
    """Run the model without computing; give the report, and which layers have calls that no capture gives."""
    ears = Ears(model, Everything(), strict=False)
    reports: list[Report] = []

    def run(*args: Any, **kwargs: Any) -> None:
        tape = Tape(Everything(), is_array=is_array, keep=_described)
        with keras.StatelessScope():
            ears.listen(tape, args, kwargs)
        report = tape.activations().report
        assert report is not None  # noqa: S101 - a tape always gives one
        reports.append(report)

    args, kwargs = native(args), {"training": False, **native(kwargs)}
    with framework().kept_modes(model), kept_losses(model):
        try:
            framework().dry_run(run, args, kwargs)
        except ActlensError:
            raise
        except Exception:  # a model that looks at values; Keras rewrites errors, so that types do not tell
            if not framework().TRACES:
                raise
            run(*args, **kwargs)
    return reports[-1], ears.partly


def _described(_key: str, array: Any) -> Kept:
    """Keep only what describes an array: one call must not hold every activation at once."""
    return Kept(None, sizes(array), array.dtype)
