"""One name for a layer, with and without wrappers; axes by the type of layer."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import actlens
from actlens_torch._axes import axes_of


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


class Checkpointed(nn.Module):
    """Stands for torch's CheckpointWrapper and FSDP, which need more than one CPU process can give."""

    def __init__(self, module, name):
        super().__init__()
        self.add_module(name, module)
        self.inner = name

    def forward(self, *args):
        return getattr(self, self.inner)(*args)


def test_containers_and_the_model_itself_are_no_layers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 1)})
            self.scales = nn.ParameterList([nn.Parameter(torch.ones(1))])
            self.nothing = None
            self.register_module("absent", None)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](x)

    assert list(actlens.layers(Model())) == ["blocks.0", "blocks.1", "heads.a"]


def test_a_forward_that_is_set_on_the_instance_makes_a_layer():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Module()
            self.part.forward = lambda x: x * 2

        def forward(self, x):
            return self.part(x)

    _, acts = actlens.capture(Model(), "part")(torch.ones(2, 3))
    assert (acts["part"] == 2).all()


@pytest.mark.parametrize("name", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"])
def test_names_of_wrappers_are_dropped(name):
    model = mlp()
    plain = list(actlens.layers(model))
    model[0] = Checkpointed(model[0], name)
    wrapped = Checkpointed(model, name)
    assert list(actlens.layers(wrapped)) == plain
    assert actlens.layers(wrapped)["0"].type == "Linear"
    _, acts = actlens.capture(wrapped, "**")(torch.zeros(2, 4))
    assert list(acts) == plain


def test_a_layer_called_module_keeps_its_name():
    model = nn.Sequential()
    model.add_module("module", nn.Linear(4, 4))
    assert list(actlens.layers(model)) == ["module"]


def test_data_parallel_is_stepped_out_of():
    model = mlp()
    parallel = nn.DataParallel(model)
    x = torch.randn(5, 4)
    output, acts = actlens.capture(parallel, "**")(x)
    assert list(acts) == ["0", "1", "2"]
    assert torch.equal(output, model(x))
    inner = nn.Sequential(nn.DataParallel(nn.Linear(4, 4)))
    assert list(actlens.capture(inner, "**")(x)[1]) == ["0"]


def test_checkpoint_wrapper_of_torch():
    wrapper = pytest.importorskip("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    model = mlp()
    model[0] = wrapper.checkpoint_wrapper(model[0])
    x = torch.randn(5, 4)
    output, acts = actlens.capture(model, {"**": lambda t: t.tanh()})(x)
    assert list(acts) == ["0", "1", "2"]
    output.sum().backward()
    assert model[0].weight.grad is not None


def test_parametrizations_are_no_layers():
    model = mlp()
    parametrizations.weight_norm(model[0])
    parametrizations.orthogonal(model[2])
    assert list(actlens.layers(model)) == ["0", "1", "2"]
    _, acts = actlens.capture(model, "**")(torch.zeros(2, 4))
    assert list(acts) == ["0", "1", "2"]
    assert acts.axes["0"] == ("sample", "unit")


def test_shared_modules_have_the_first_name_and_aliases():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(4, 4))
            self.decoder = self.encoder

        def forward(self, x):
            return self.decoder(self.encoder(x))

    model = Model()
    infos = actlens.layers(model)
    assert list(infos) == ["encoder", "encoder.0"]
    assert infos["encoder"].aliases == ("decoder",)
    assert infos["encoder.0"].aliases == ("decoder.0",)
    _, acts = actlens.capture(model, "encoder.0")(torch.zeros(2, 4))
    assert list(acts) == ["encoder.0", "encoder.0:2"]
    with pytest.raises(actlens.ActlensError, match="same layer as 'encoder'"):
        actlens.capture(model, "decoder")


def test_a_module_and_its_compiled_form_are_one_layer():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.slow = nn.Linear(4, 4)
            self.fast = Checkpointed(self.slow, "_orig_mod")

        def forward(self, x):
            return self.fast(x)

    infos = actlens.layers(Model(), torch.zeros(1, 4))
    assert list(infos) == ["slow"]
    assert infos["slow"].aliases == ("fast",)


def test_a_module_that_holds_itself():
    model = mlp()
    model[1].owner = model
    model[1].me = model[1]
    assert list(actlens.layers(model)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Linear(4, 2), (5, 4), "sample unit"),
        (nn.Linear(4, 2), (5, 3, 4), "sample token unit"),
        (nn.Linear(4, 2), (5, 3, 3, 4), None),
        (nn.Conv1d(2, 3, 3), (5, 2, 8), "sample channel time"),
        (nn.Conv1d(2, 3, 3), (2, 8), None),
        (nn.Conv2d(2, 3, 3), (5, 2, 8, 8), "sample channel height width"),
        (nn.Conv2d(2, 3, 3), (2, 8, 8), None),
        (nn.Conv3d(2, 3, 3), (5, 2, 8, 8, 8), "sample channel depth height width"),
        (nn.ConvTranspose2d(2, 3, 3), (5, 2, 8, 8), "sample channel height width"),
        (nn.BatchNorm1d(4), (5, 4), "sample unit"),
        (nn.BatchNorm1d(4), (5, 4, 6), "sample channel time"),
        (nn.BatchNorm2d(2), (5, 2, 8, 8), "sample channel height width"),
        (nn.GroupNorm(1, 2), (5, 2, 8, 8), "sample channel height width"),
        (nn.InstanceNorm2d(2), (5, 2, 8, 8), "sample channel height width"),
        (nn.MaxPool2d(2), (5, 2, 8, 8), "sample channel height width"),
        (nn.AdaptiveAvgPool1d(2), (5, 2, 8), "sample channel time"),
        (nn.LayerNorm(4), (5, 3, 4), "sample token unit"),
        (nn.Flatten(), (5, 2, 8), "sample unit"),
        (nn.Flatten(0), (5, 2, 8), None),
        (nn.Flatten(0, 1), (5, 2, 8), None),
        (nn.ReLU(), (5, 4), "sample unit"),
        (nn.ReLU(), (5, 2, 8, 8), "sample channel height width"),
        (nn.ReLU(), (5, 3, 4), None),
        (nn.GELU(), (5, 4), "sample unit"),
        (nn.GELU(), (5, 8, 8, 2), None),  # channels last in ConvNeXt and Swin
        (nn.Unfold(2), (5, 2, 8, 8), None),
    ],
)
def test_axes(layer, shape, axes):
    _, acts = actlens.capture(nn.Sequential(layer), "0")(torch.zeros(shape))
    assert acts.axes.get("0") == (tuple(axes.split()) if axes else None)


def test_axes_of_embeddings_and_subclasses():
    class Mine(nn.Embedding):
        pass

    _, acts = actlens.capture(nn.Sequential(Mine(7, 3)), "0")(torch.zeros(5, 2, dtype=torch.long))
    assert acts.axes["0"] == ("sample", "token", "unit")


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [True, False])
def test_axes_of_recurrent_layers(kind, batch_first):
    model = nn.Sequential(kind(3, 4, num_layers=2, batch_first=batch_first))
    _, acts = actlens.capture(model, "0")(torch.zeros(5, 6, 3))
    first = ("sample", "time", "unit") if batch_first else ("time", "sample", "unit")
    hidden = ["0[1][0]", "0[1][1]"] if kind is nn.LSTM else ["0[1]"]
    assert acts.axes == {"0[0]": first} | dict.fromkeys(hidden, ("layer", "sample", "unit"))
    _, acts = actlens.capture(model, "0")(torch.zeros(6, 3))
    assert acts.axes == {}


@pytest.mark.parametrize("batch_first", [True, False])
def test_axes_of_attention(batch_first):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=batch_first)

        def forward(self, x, average):
            return self.attend(x, x, x, average_attn_weights=average)

    first = ("sample", "token", "unit") if batch_first else ("token", "sample", "unit")
    forward = actlens.capture(Model(), "attend")
    assert forward(torch.zeros(5, 3, 4), average=True)[1].axes == {
        "attend[0]": first,
        "attend[1]": ("sample", "query", "key"),
    }
    assert forward(torch.zeros(5, 3, 4), average=False)[1].axes["attend[1]"] == (
        "sample",
        "head",
        "query",
        "key",
    )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("batch_first", [True, False])
def test_axes_inside_transformers(batch_first):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2))
    names = ["0", "0.layers.1", "0.layers.1.linear1", "0.layers.1.norm1"]
    _, acts = actlens.capture(model, names)(torch.zeros(5, 3, 4))
    first = ("sample", "token", "unit") if batch_first else ("token", "sample", "unit")
    assert acts.axes == dict.fromkeys(names, first)


def test_axes_of_a_decoder_and_of_an_empty_stack():
    stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, batch_first=True), 1)
    assert axes_of(stack)("", torch.zeros(5, 3, 4)) == ("sample", "token", "unit")
    stack.layers = nn.ModuleList()
    assert axes_of(stack)("", torch.zeros(5, 3, 4)) is None
