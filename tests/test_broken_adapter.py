"""BackendTests is worth something only if wrong adapters fail it: each of these has one fault."""

import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("torch")

PRELUDE = """
import contextlib
import sys
import types
from unittest import mock

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

import actlens.stopping
import actlens_torch
import actlens_torch as good
from actlens.activations import Activations
from test_backend_torch import TestTorch as Good


def adapter(**changes):
    members = {name: getattr(good, name) for name in good.__all__}
    return types.SimpleNamespace(**(members | changes))


def tensors(value):
    return isinstance(value, torch.Tensor)


def fetched(change):
    # fetch() with something done to each array

    def fetch(arrays, /, rows=None):
        return lambda: {key: change(value) for key, value in good.fetch(arrays, rows=rows)().items()}

    return fetch


def patched(target, name, value):
    # the adapter's own capture(), with one thing inside replaced during its calls

    def capture(model, select, /, *, stop=False):
        forward = good.capture(model, select, stop=stop)

        def run(*args, **kwargs):
            with mock.patch.object(target, name, value):
                return forward(*args, **kwargs)

        return run

    return capture


class Aliasing(actlens_torch._values.Keeper):
    def keep(self, key, tensor):
        return self._select.transform(key, tensor)


REMOVE = RemovableHandle.remove


def remove_on_success(handle):
    if sys.exc_info()[0] in {None, actlens.stopping.Stopped}:
        REMOVE(handle)


def rewired(change):
    def capture(model, select, /, *, stop=False):
        forward = good.capture(model, select, stop=stop)
        return lambda *args, **kwargs: change(*forward(*args, **kwargs))

    return capture
"""

FAULTS = {  # name: (the adapter, tests that must fail)
    "aliasing": (
        "adapter(capture=patched(actlens_torch._capture, 'Keeper', Aliasing))",
        {"test_values_are_those_of_the_layers", "test_captured_values_stay"},
    ),
    "hooks_stay": (
        "adapter(capture=patched(RemovableHandle, 'remove', lambda handle: None))",
        {"test_nothing_is_left_on_the_model", "test_nothing_is_left_after_an_error"},
    ),
    "hooks_stay_on_error": (
        "adapter(capture=patched(RemovableHandle, 'remove', remove_on_success))",
        {"test_nothing_is_left_after_an_error"},
    ),
    "last_call_wins": (
        """adapter(capture=rewired(lambda output, acts: (output, Activations(
            {key.partition(":")[0]: value for key, value in acts.items()}, acts.axes, acts.report))))""",
        {"test_every_call_has_its_own_key"},
    ),
    "first_leaf_only": (
        """adapter(capture=rewired(lambda output, acts: (output, Activations(
                   dict(list(acts.items())[:1]), acts.axes, acts.report))))""",
        {"test_leaves_of_a_structure_have_keys", "test_values_are_those_of_the_layers"},
    ),
    "other_output": (
        "adapter(capture=rewired(lambda output, acts: (output * 1.1 if tensors(output) else output, acts)))",
        {"test_output_is_the_models_own"},
    ),
    "wrong_axes": (
        """adapter(capture=rewired(lambda output, acts: (output, Activations(
                   acts, {key: axes[:1] + axes[:0:-1] for key, axes in acts.axes.items()}, acts.report))))""",
        {"test_axes_of_a_convolution"},
    ),
    "stop_is_ignored": (
        "adapter(capture=lambda model, select, /, *, stop=False: good.capture(model, select))",
        {"test_stop_gives_the_same_values"},
    ),
    "fetch_of_views": (
        """adapter(fetch=lambda arrays, /, rows=None: lambda: {
                   key: t.detach().numpy() if rows is None else good.fetch({key: t}, rows=rows)()[key]
                   for key, t in arrays.items()})""",
        {"test_fetch_owns_its_memory", "test_fetch_keeps_the_dtype"},
    ),
    "fetch_sorts_rows": (
        """adapter(fetch=lambda arrays, /, rows=None:
                   good.fetch(arrays, rows=None if rows is None else np.sort(rows)))""",
        {"test_fetch_of_rows"},
    ),
    "fetch_ignores_rows": (
        "adapter(fetch=lambda arrays, /, rows=None: good.fetch(arrays))",
        {"test_fetch_of_rows"},
    ),
    "fetch_casts": (
        "adapter(fetch=fetched(lambda value: value.astype(np.float32)))",
        {"test_fetch_keeps_the_dtype", "test_fetch_of_rows"},
    ),
    "fetch_in_fortran_order": (
        "adapter(fetch=fetched(np.asfortranarray))",
        {"test_fetch_keeps_the_dtype", "test_fetch_of_rows"},
    ),
    "inference_trains": (
        """adapter(inference=lambda model, forward, /: contextlib.nullcontext(
            lambda x: forward(torch.from_numpy(x))))""",
        {"test_inference_is_eval_and_is_undone"},
    ),
    "inference_leaves_eval": (
        """adapter(inference=lambda model, forward, /: contextlib.nullcontext(
                   lambda x: [model.eval(), forward(torch.from_numpy(x))][1]))""",
        {"test_inference_is_eval_and_is_undone"},
    ),
    "layers_out_of_order": (
        """adapter(layers=lambda model, /, *args, **kwargs:
                   dict(reversed(good.layers(model, *args, **kwargs).items())))""",
        {"test_layers_with_an_example"},
    ),
    "layers_once_per_layer": (
        """adapter(layers=lambda model, /, *args, **kwargs: {
            key: info for key, info in good.layers(model, *args, **kwargs).items() if ":" not in key})""",
        {"test_layers_agrees_with_capture"},
    ),
    "member_missing": ("types.SimpleNamespace(name='torch')", {"test_keeps_the_protocol"}),
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """Run BackendTests on every faulty adapter in one process; name → tests that failed."""
    folder = tmp_path_factory.mktemp("broken")
    classes = ["class Testgood(Good):\n    pass"]
    classes += [
        f"class Test{name}(Good):\n    backend = {textwrap.dedent(text)}"
        for name, (text, _) in FAULTS.items()
    ]
    (folder / "test_faults.py").write_text("\n\n".join([PRELUDE, *classes]))
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), f"--junitxml={report}"]
    here = Path(__file__).parent
    program = (
        f"import sys, pytest; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]; pytest.main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *options, str(folder / "test_faults.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert report.exists(), done.stdout + done.stderr
    result = {name: set() for name in ["good", *FAULTS]}
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314
    assert len(cases) > 20 * len(FAULTS), done.stdout[-3000:]
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            result[case.get("classname").rpartition(".Test")[2]].add(case.get("name"))
    return result


def test_the_real_adapter_passes(failed):
    assert failed["good"] == set()


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(failed, name):
    assert failed[name] >= FAULTS[name][1]
    assert len(failed[name]) <= 12 or name == "member_missing"  # one fault, not a broken suite
    assert "test_is_found_by_model_and_by_array" not in failed[name]  # the suite itself did not break
