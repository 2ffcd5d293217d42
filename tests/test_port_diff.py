"""What compare.diff says of a port: nothing of a good one, and of each mistake where it is and what."""

from __future__ import annotations

import pytest
from port_mistakes import MISTAKES
from port_runs import FRAMEWORKS, Runs

compare = pytest.importorskip("actlens.compare")
if not hasattr(compare, "diff"):
    pytest.skip("actlens.compare has no diff yet", allow_module_level=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("ports"))


def _reference(framework):
    return "linen" if framework == "torch" else "torch"


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_good_port_has_no_first_layer(runs, framework):
    found = compare.diff(runs(_reference(framework)), runs(framework))
    assert found.first is None


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_named(runs, framework, mistake):
    first, words = MISTAKES[mistake]
    found = compare.diff(runs(_reference(framework)), runs(framework, mistake))
    assert found.first == first
    for word in words:
        assert word in found.diagnosis


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_with_what_goes_into_layers(runs, framework, mistake):
    """With `layer@input`; that of the dense layer has its units in another order, which is no mistake."""
    first, words = MISTAKES.get(mistake, (None, ()))
    found = compare.diff(runs(_reference(framework), inputs=True), runs(framework, mistake, inputs=True))
    assert found.first in ({first, "conv1@input"} if mistake in {"scale", "wrong_ids"} else {first})
    for word in words:
        assert word in found.diagnosis
