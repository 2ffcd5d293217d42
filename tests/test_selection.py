"""`layers=`: patterns, dicts, predicates; against fnmatch-like rules stated here anew."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlens.errors import BadTransform, NoLayerMatches, SelectionError
from actlens.selection import Selection
from actlens.transforms import EinopsTransform

NAMES = ["stem", "layer1", "layer1.0", "layer1.0.conv1", "layer2", "layer2.1.conv2", "head"]


def chosen(layers, names=NAMES):
    selection = Selection.of(layers)
    return [name for name in names if selection.layer(name)]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("layer*", ["layer1", "layer2"]),
        ("layer?", ["layer1", "layer2"]),
        ("layer*.*", ["layer1.0"]),
        ("layer**", ["layer1", "layer1.0", "layer1.0.conv1", "layer2", "layer2.1.conv2"]),
        ("**.conv*", ["layer1.0.conv1", "layer2.1.conv2"]),
        ("**", NAMES),
        ("*", ["stem", "layer1", "layer2", "head"]),
        (["head", "stem"], ["stem", "head"]),
        (["**", "!layer**", "layer2"], ["stem", "layer2", "head"]),
        (("*", "!head"), ["stem", "layer1", "layer2"]),
        ({"head": None, "*1": None}, ["layer1", "head"]),
        (lambda path: "conv" in path, ["layer1.0.conv1", "layer2.1.conv2"]),
        ("head@input", []),
        ("l.yer1", []),
        ("layer[1]", []),
    ],
)
def test_which_layers(layers, expected):
    assert chosen(layers) == expected


def test_inputs_only_where_asked():
    selection = Selection.of(["layer1", "head@input"])
    assert selection.layer("head@input")
    assert not selection.layer("layer1@input")
    assert selection.wants("head@input[0]")
    assert selection.wants("head:2@input")
    assert not selection.wants("head")
    everything = Selection.of(lambda _path: True)
    assert not everything.layer("head@input")
    assert not everything.wants("head@input")


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("rnn", {"rnn", "rnn:2", "rnn[0]", "rnn[1][0]", "rnn:2[1]"}),
        ("rnn:2", {"rnn:2", "rnn:2[1]"}),
        ("rnn:1", {"rnn", "rnn[0]", "rnn[1][0]"}),
        ("rnn[1]", {"rnn[1][0]", "rnn:2[1]"}),
        ("rnn[1][0]", {"rnn[1][0]"}),
        ("rnn[*]", {"rnn[0]", "rnn[1][0]", "rnn:2[1]"}),
        ("rnn@input", {"rnn@input", "rnn@input[h]"}),
        ("*@input[h]", {"rnn@input[h]"}),
    ],
)
def test_calls_and_leaves(pattern, keys):
    every = {"rnn", "rnn:2", "rnn[0]", "rnn[1][0]", "rnn:2[1]", "rnn@input", "rnn@input[h]", "rnn[10]"[:6]}
    selection = Selection.of(pattern)
    assert {key for key in every if selection.wants(key)} == keys
    assert selection.layer("rnn") or selection.layer("rnn@input")


def test_excluding_a_leaf_keeps_the_layer():
    selection = Selection.of(["rnn", "!rnn[1]"])
    assert selection.layer("rnn")
    assert selection.wants("rnn[0]")
    assert not selection.wants("rnn[1][0]")


def test_the_last_pattern_decides_the_transform():
    selection = Selection.of({"**": None, "conv*": "b c h w -> b c", "conv2": lambda x: x[:, 0]})
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert selection.transform("fc", x) is x
    np.testing.assert_allclose(selection.transform("conv1", x), x.mean((2, 3)))
    assert (selection.transform("conv2:2", x) == x[:, 0]).all()
    assert selection.describe()["conv*"] == "b c h w -> b c"
    assert selection.describe()["conv2"].startswith("function ")
    assert "0x" not in selection.describe()["conv2"]


@given(st.from_regex(re.compile(r"[a-z0-9_]{1,6}(\.[a-z0-9_]{1,6}){0,3}"), fullmatch=True))
def test_a_name_matches_itself_and_both_stars(name):
    assert chosen(name, [name, name + "x", "x" + name]) == [name]
    assert chosen("**", [name]) == [name]
    assert chosen("*", [name]) == ([] if "." in name else [name])


@pytest.mark.parametrize(
    ("layers", "error", "text"),
    [
        (3, SelectionError, "layers= is a int; it takes a pattern"),
        ([3], SelectionError, "layers= is a list; it takes a pattern"),
        (None, SelectionError, "layers= is a NoneType; .*'\\*\\*' means every layer"),
        ([], SelectionError, "layers= is empty. Name at least one pattern"),
        ({}, SelectionError, "layers= is empty"),
        ("!head", SelectionError, "layers= only excludes .!head.. Add what to keep"),
        ({"fc": 3}, BadTransform, "the transform of 'fc' is a int; it takes an einops pattern"),
        (
            {"fc": "b c"},
            BadTransform,
            "'b c' is not an einops pattern .it needs one '->'.. It reads 'axes -> axes'",
        ),
        ({"fc": "b c -> b d"}, BadTransform, "'d' is on the right side only"),
        ({"fc": "b ( -> b"}, BadTransform, r"'\(' is not an axis"),
        ({"fc": "-> b"}, BadTransform, "a side is empty"),
    ],
)
def test_what_cannot_be_used(layers, error, text):
    with pytest.raises(error, match=text):
        Selection.of(layers)


def test_names_that_match_nothing():
    names = {"fc1": (), "act": (), "fc2": ("head",)}
    with pytest.raises(
        NoLayerMatches,
        match=r"no layer of MLP matches 'blocks.\*'. Its layers: fc1, act, fc2. actlens.layers\(mo",
    ):
        Selection.of("blocks.*").check_names("MLP", names)
    with pytest.raises(NoLayerMatches, match="It is the same layer as 'fc2', whose calls are 'fc2', 'fc2:2'"):
        Selection.of(["fc1", "head"]).check_names("MLP", names)
    with pytest.raises(NoLayerMatches, match="the function given as layers= is false for every layer of MLP"):
        Selection.of(lambda _path: False).check_names("MLP", names)
    with pytest.raises(NoLayerMatches, match="Linear has no layers inside it"):
        Selection.of("**").check_names("Linear", {})
    Selection.of(["fc*", "!nothing", "act@input"]).check_names("MLP", names)


def test_parts_that_are_not_there():
    with pytest.raises(
        NoLayerMatches, match=r"'rnn\[3\]' matches a layer, but none of what it gave: rnn\[0\], "
    ):
        Selection.of(["rnn[3]", "fc"]).check_keys(["fc"], ["rnn[0]", "rnn[1]"])


def test_a_transform_that_fails_names_the_layer():
    selection = Selection.of({"a": "b c h w -> b c", "b": lambda x: x.nope, "c": lambda x: 3})
    x = np.zeros((2, 3))
    with pytest.raises(
        BadTransform, match=r"the transform b c h w -> b c of layer 'a' failed on its .*\(2, 3\)"
    ):
        selection.transform("a", x)
    with pytest.raises(BadTransform, match="of layer 'b' failed .* has no attribute 'nope'"):
        selection.transform("b", x)
    with pytest.raises(BadTransform, match="of layer 'c' returned a int; it must return one array"):
        selection.transform("c", x)


IMAGE = ("sample", "channel", "height", "width")


@pytest.mark.parametrize(
    ("pattern", "axes", "expected"),
    [
        ("b c h w -> b c", IMAGE, ("sample", "channel")),
        ("b h w c -> b c", ("sample", "height", "width", "channel"), ("sample", "channel")),
        ("b c h w -> b (c h w)", IMAGE, ("sample", "channel*height*width")),
        ("b ... -> b (...)", IMAGE, None),
        ("b c ... -> b c ...", IMAGE, IMAGE),
        ("b ... w -> b w ...", IMAGE, ("sample", "width", "channel", "height")),
        ("t b d -> b t d", ("time", "sample", "unit"), ("sample", "time", "unit")),
        ("b s d -> b d", None, ("sample", "d")),
        ("b ... d -> b ... d", None, None),
        ("b c h w -> b c 1 1", IMAGE, ("sample", "channel", "axis2", "axis3")),
        ("b (s c) -> b s c", ("sample", "unit"), ("b", "s", "c")),
        ("b c -> b (c c)", ("sample", "unit"), ("sample", "unit*unit")),
    ],
)
def test_einops_patterns_name_the_axes(pattern, axes, expected):
    if expected is None and axes is not None:
        assert EinopsTransform(pattern).axes(axes) in {None, ("sample", "axis1")}
    else:
        assert EinopsTransform(pattern).axes(axes) == expected


def test_what_is_excluded_is_excluded_with_its_input():
    selection = Selection.of(["**", "**@input", "!a.*"])
    wanted = ["a", "a@input", "b", "b@input"]
    assert [name for name in [*wanted, "a.x", "a.x@input"] if selection.layer(name)] == wanted
    assert [key for key in [*wanted, "a.x[0]", "a.x:2@input[0]"] if selection.wants(key)] == wanted
    only_inputs = Selection.of(["**", "**@input", "!a.*@input"])
    assert only_inputs.wants("a.x")
    assert not only_inputs.wants("a.x@input")
    again = Selection.of(["**", "!a.*", "a.x@input"])
    assert again.wants("a.x@input")


def test_indices_to_try_are_those_of_the_patterns():
    assert list(Selection.of(["ls.299.fc", "e.17.*"]).indices()) == [0, 17, 299]
    assert list(Selection.of(["*.29?.fc"]).indices()) == [0, 290]
    assert list(Selection.of("**").indices()) == [0]
    assert 299 in Selection.of(lambda path: path == "ls.299.fc").indices()
