"""Compiled, traced, scripted, exported, fused: hooks fire, or an error says why they cannot."""

import copy

import pytest
import torch
from torch import nn

import actlens
import actlens_torch
from actlens.errors import LayerNeverFired, UncapturableValue, UnsupportedModel
from actlens_torch import _modes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:DeprecationWarning",
    "ignore:.*torch.jit.*:FutureWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",  # the compiler asks for it
)


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.act, self.fc2 = nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


@pytest.fixture
def x():
    return torch.randn(5, 4)


@pytest.fixture
def model():
    return MLP()


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch.compiler.reset()


def check(model, expected, x):
    output, acts = actlens.capture(model, "**")(x)
    assert list(acts) == ["fc1", "act", "fc2"]
    assert torch.equal(output, expected(x))
    assert torch.equal(acts["fc1"], expected.fc1(x))


@pytest.mark.parametrize("ran_before", [True, False])
def test_a_compiled_model(model, x, ran_before):
    compiled = torch.compile(model, backend="eager")
    if ran_before:
        compiled(x)
    check(compiled, copy.deepcopy(model), x)
    check(compiled, copy.deepcopy(model), x)


def test_module_compile(model, x):
    plain = copy.deepcopy(model)
    model.compile(backend="eager")
    model(x)
    check(model, plain, x)


def test_a_compiled_part_and_a_compiled_function(model, x):
    plain = copy.deepcopy(model)
    model.fc1 = torch.compile(model.fc1, backend="eager")
    model.act.forward = torch.compile(model.act.forward, backend="eager")
    model(x)
    check(model, plain, x)


def test_compilation_is_on_again_afterwards(model, x):
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    actlens.capture(compiled, "**")(x)
    assert seen == []
    compiled(x)
    assert len(seen) == 1
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        actlens.capture(compiled, "**")(x[:, :2])
    torch.compiler.reset()
    compiled(x)
    assert len(seen) == 2


def test_hooks_of_the_user_fire_in_a_compiled_model(model, x):
    calls = []
    model.fc1.register_forward_hook(lambda *args: calls.append(1))
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    actlens.capture(compiled, "fc1")(x)
    assert calls == [1, 1]


def test_a_forward_can_be_compiled(model, x):
    forward = actlens.capture(model, {"fc1": "b c -> b", "act": None})
    compiled = torch.compile(forward, backend="eager")
    for _ in range(2):
        output, acts = compiled(x)
        assert torch.equal(output, model(x))
        assert torch.equal(acts["fc1"], model.fc1(x).mean(1))
        assert acts.axes["fc1"] == ("sample",)


def test_inside_a_compiled_function(model, x):
    torch.compile(model, backend="eager")(x)  # its code is in the cache, without hooks
    forward = actlens.capture(model, "fc1")

    def step(x):
        x = x * 2
        torch._dynamo.graph_break()
        output, acts = forward(x)
        return output + 1, acts["fc1"] * 3

    output, value = torch.compile(step, backend="eager")(x)
    assert torch.allclose(output, model(x * 2) + 1)
    assert torch.allclose(value, model.fc1(x * 2) * 3)


def test_inside_a_compiled_region_that_was_given_up(model, x, monkeypatch):
    """A frame that the compiler skipped runs with the compiler still switched on."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: False)
    monkeypatch.setattr("actlens_torch._capture.being_compiled", lambda: True)
    _, acts = actlens.capture(torch.compile(model, backend="eager"), "fc1")(x)
    assert torch.equal(acts["fc1"], model.fc1(x))


def test_being_compiled_is_asked_of_the_compiler(monkeypatch):
    assert not _modes.being_compiled()
    monkeypatch.setattr("torch._C._dynamo.eval_frame.get_eval_frame_callback", lambda: lambda: None)
    assert _modes.being_compiled()
    monkeypatch.delitem(__import__("sys").modules, "torch._dynamo")
    assert not _modes.being_compiled()


def test_an_old_torch_refuses_compiled_models(model, x, monkeypatch):
    monkeypatch.delattr(torch.compiler, "set_stance")
    assert "fc1" in actlens.capture(model, "fc1")(x)[1]
    for compiled in (torch.compile(model, backend="eager"), model):
        model.compile(backend="eager")
        with pytest.raises(UnsupportedModel, match="cannot be run eagerly by this version of torch.*Upgrade"):
            actlens.capture(compiled, "fc1")(x)


def test_traced_and_scripted_models_are_refused(model, x):
    for hidden in (torch.jit.trace(copy.deepcopy(model), x), torch.jit.script(model)):
        with pytest.raises(
            UnsupportedModel, match="no hook fires.*before torch.jit.trace or torch.jit.script"
        ):
            actlens.capture(hidden, "fc1")


def test_a_layer_inside_a_scripted_part_is_refused(model, x):
    outer = nn.Sequential()
    outer.add_module("plain", nn.Linear(4, 4))
    outer.add_module("traced", torch.jit.trace(model, x))
    assert list(actlens.capture(outer, "plain")(x)[1]) == ["plain"]
    for name in ("traced", "traced.fc1"):
        with pytest.raises(UnsupportedModel, match=f"layer '{name}' is a torch.jit module"):
            actlens.capture(outer, name)
    infos = actlens.layers(outer, x)
    assert infos["plain"].shape == (5, 4)
    assert infos["traced.fc1"].note == "never called: inside a torch.jit module, where no hook fires"
    assert actlens.layers(outer)["traced"].note == "inside a torch.jit module, where no hook fires"


@pytest.mark.filterwarnings("ignore")
def test_exported_programs(model, x):
    program = torch.export.export(model, (x,))
    with pytest.raises(UnsupportedModel, match=r"torch.export.unflatten\(program\)"):
        actlens.capture(program, "fc1")
    _, acts = actlens.capture(torch.export.unflatten(program), "fc1")(x)
    assert torch.equal(acts["fc1"], model.fc1(x))


def test_a_traced_graph_module_is_fine(model, x):
    check(torch.fx.symbolic_trace(model), model, x)


@pytest.mark.parametrize("thing", [torch.zeros(3), torch.optim.SGD([torch.zeros(1)], lr=0.1)])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(UnsupportedModel, match="a torch.*is not a model. Give the torch.nn.Module"):
        actlens.capture(thing, "**")


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_the_fast_path_of_attention_is_off_and_on_again():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    model = nn.Sequential(encoder, nn.Linear(8, 2)).eval()
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        forward = actlens.capture(model, ["0.layers.*.linear1", "0.layers.0.self_attn"])
        output, acts = forward(x)
        assert list(acts) == ["0.layers.0.self_attn[0]", "0.layers.0.linear1", "0.layers.1.linear1"]
        assert torch.allclose(output, model(x), atol=1e-5)
        assert "fast path of MultiheadAttention" in str(forward.report)
        assert torch.backends.mha.get_fastpath_enabled()
        # Layers outside of the encoder leave the fast path, and so the bits of the output, alone.
        forward = actlens.capture(model, "1")
        assert torch.equal(forward(x)[0], model(x))
        assert forward.report.notes == ()


def test_the_fast_path_is_on_again_after_an_error():
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    with pytest.raises(AssertionError):
        actlens.capture(model, "0.linear1")(torch.zeros(3, 5, 7))
    assert torch.backends.mha.get_fastpath_enabled()


class Padded(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.fc = nn.TransformerEncoder(layer, 2, **options), nn.Linear(8, 3)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x, padding):
        x = self.encoder(x, src_key_padding_mask=padding)
        return self.fc(self.attend(x).mean(1))


@pytest.fixture
def padded():
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 2:] = True
    return torch.randn(3, 5, 8), padding


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", ["encoder.layers.0", "encoder.layers.1.linear1@input", "attend.linear1"])
@pytest.mark.parametrize("kind", [torch.bool, torch.float])
def test_an_encoder_that_packs_padding_is_refused_if_its_output_would_change(padded, name, kind):
    model, (x, padding) = Padded().eval(), padded
    padding = torch.zeros(3, 5).masked_fill(padding, -torch.inf) if kind == torch.float else padding
    with torch.no_grad():
        expected = model(x, padding)
        forward = actlens.capture(model, ["fc", name])
        with pytest.raises(UncapturableValue, match="nested-tensor path.*itself.*enable_nested_tensor=False"):
            forward(x, padding)
        assert torch.equal(model(x, padding), expected)
        assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_cures_for_an_encoder_that_packs_padding(padded, tmp_path):
    with torch.no_grad():
        model = Padded().eval()
        forward = actlens.capture(model, ["encoder", "encoder@input", "fc"])
        output, acts = forward(*padded)
        assert torch.equal(output, model(*padded))
        assert (acts["encoder"][0, 2:] == 0).all()
        assert forward.report.notes == ()
        model = Padded(enable_nested_tensor=False).eval()
        output, acts = actlens.capture(model, ["encoder.layers.*", "fc"])(*padded)
        assert torch.allclose(output, model(*padded), atol=1e-6)
        assert len(acts) == 3


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_that_does_not_pack_is_captured(padded):
    x, padding = padded
    model = Padded().train()
    forward = actlens.capture(model, "encoder.layers.0")
    forward(x, padding)  # training
    model.eval()
    output, _ = forward(x, padding)  # with gradients
    assert torch.allclose(output, model(x, padding), atol=1e-6)
    with torch.no_grad():
        forward(x, None)
        output, _ = forward(x, padding.flip(1))  # padding on the left is not packed
        assert torch.allclose(output, model(x, padding.flip(1)), atol=1e-6)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            assert torch.allclose(forward(x, padding)[0], model(x, padding), atol=1e-6)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert actlens.layers(model, x, padding)["encoder.layers.0.linear1"].shape == (3, 5, 16)


def test_weights_only_layers_are_named(x):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.attend(x, x, x, need_weights=False)[0]

    model, x = Model(), torch.randn(2, 3, 4)
    with pytest.raises(LayerNeverFired, match="MultiheadAttention uses its weights without calling it"):
        actlens.capture(model, "attend.out_proj")(x)
    assert "uses its weights" in actlens.layers(model)["attend.out_proj"].note
    assert actlens.layers(model, x)["attend.out_proj"].note.startswith(
        "never called: MultiheadAttention uses"
    )


def test_importing_does_nothing_to_torch():
    import subprocess
    import sys

    program = (
        "import torch, sys; before = torch.nn.Module.__call__; hook = sys.excepthook; import actlens_torch;"
        "assert torch.nn.Module.__call__ is before and sys.excepthook is hook;"
        "assert 'torch._dynamo' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_version():
    assert actlens_torch.version() == torch.__version__
    assert actlens_torch.name == "torch"
