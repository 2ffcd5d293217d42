"""What layers return: structures, odd tensors, precision, and models of transformers."""

import collections
import dataclasses

import pytest
import torch
import torch.utils._pytree as pytree
from torch import nn

import actlens
from actlens.errors import EmptyCapture, UncapturableValue


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


class Outer(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.layer = Returns(make)

    def forward(self, x):
        self.layer(x)
        return x


Pair = collections.namedtuple("Pair", ["left", "right"])


@dataclasses.dataclass
class Box:
    value: torch.Tensor
    label: str = "a"


class Unknown:
    def __init__(self, x):
        self.x = x


class Registered(Unknown):
    pass


pytree.register_pytree_node(
    Registered,
    lambda it: ([it.x, it.x + 1], None),
    lambda values, context: Registered(values[0]),
    serialized_type_name="test_torch_values.Registered",
)


@pytest.mark.parametrize(
    ("make", "keys", "skipped"),
    [
        (lambda x: (x, None), ["layer[0]"], {"layer[1]": "NoneType"}),
        (lambda x: [x, (x, x)], ["layer[0]", "layer[1][0]", "layer[1][1]"], {}),
        (lambda x: {"a": x, "b": {"c": x}}, ["layer[a]", "layer[b][c]"], {}),
        (lambda x: Pair(x, x), ["layer[left]", "layer[right]"], {}),
        (lambda x: Box(x), ["layer[value]"], {"layer[label]": "str"}),
        (lambda x: (x, Registered(x)), ["layer[0]", "layer[1][0]", "layer[1][1]"], {}),
        (lambda x: (x, Unknown(x)), ["layer[0]"], {"layer[1]": "Unknown"}),
        (lambda x: collections.OrderedDict(a=x), ["layer[a]"], {}),
        (
            lambda x: nn.utils.rnn.pack_sequence([x[0], x[1]]),
            ["layer[data]", "layer[batch_sizes]"],
            {"layer[sorted_indices]": "NoneType", "layer[unsorted_indices]": "NoneType"},
        ),
    ],
)
def test_structures(make, keys, skipped):
    forward = actlens.capture(Outer(make), "layer")
    _, acts = forward(torch.randn(2, 3))
    assert list(acts) == keys
    assert forward.report.skipped == skipped


@pytest.mark.parametrize("make", [lambda x: None, lambda x: Unknown(x), lambda x: (3, "a")])
def test_no_arrays_at_all(make):
    with pytest.raises(EmptyCapture, match="returned no arrays"):
        actlens.capture(Outer(make), "layer")(torch.randn(2, 3))


@pytest.mark.filterwarnings("ignore:.*nested:UserWarning", "ignore:.*quantiz:UserWarning")
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization:DeprecationWarning", "ignore:.*[Ss]parse CSR")
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    ("make", "text", "dense"),
    [
        (lambda x: x.to_sparse(), "sparse tensor .torch.sparse_coo.*to_dense", lambda t: t.to_dense()),
        (lambda x: x.to_sparse_csr(), "sparse tensor .torch.sparse_csr", lambda t: t.to_dense()),
        (
            lambda x: torch.nested.nested_tensor([x, x[:1]]),
            "nested.*to_padded",
            lambda t: t.to_padded_tensor(0.0),
        ),
        (
            lambda x: torch.nested.nested_tensor([x, x[:1]], layout=torch.jagged),
            "nested.*to_padded",
            lambda t: t.to_padded_tensor(0.0),
        ),
        (
            lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
            "quantized tensor .torch.qint8.*dequantize",
            lambda t: t.dequantize(),
        ),
    ],
)
def test_tensors_that_are_not_dense(make, text, dense, grad):
    x = torch.randn(2, 3)
    with torch.set_grad_enabled(grad):
        with pytest.raises(UncapturableValue, match=text):
            actlens.capture(Outer(make), "layer")(x)
        _, acts = actlens.capture(Outer(make), {"layer": dense})(x)
        assert torch.equal(acts["layer"], dense(make(x)))
    assert actlens.layers(Outer(make), x)["layer"].dtype is not None


def test_the_values_of_a_sparse_tensor_are_taken_by_value():
    kept = torch.eye(3).to_sparse().coalesce()
    with torch.no_grad():
        _, acts = actlens.capture(Outer(lambda x: kept), {"layer": lambda t: t.values()})(torch.zeros(1))
    kept.values().zero_()
    assert (acts["layer"] == 1).all()


def test_meta_tensors_have_no_values():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(UncapturableValue, match="a meta tensor, which has no values.*to_empty"):
        actlens.capture(model, "0")(torch.zeros(3, 4, device="meta"))
    assert actlens.layers(model, torch.zeros(3, 4))["0"].shape == (3, 2)


def test_distributed_tensors_are_gathered():
    class Sharded(torch.Tensor):
        def full_tensor(self):
            return self.as_subclass(torch.Tensor) + 1

    x = torch.zeros(2, 3)
    _, acts = actlens.capture(Outer(lambda x: x.as_subclass(Sharded)), "layer")(x)
    assert type(acts["layer"]) is torch.Tensor
    assert (acts["layer"] == 1).all()


def test_conjugate_and_negative_views():
    x = torch.randn(2, 3, dtype=torch.complex64)
    for make in (lambda x: x.conj(), lambda x: x.conj().imag):
        _, acts = actlens.capture(Outer(make), "layer")(x)
        assert torch.equal(acts["layer"], make(x))


def test_autocast_gives_each_layer_its_dtype():
    model = nn.Sequential(nn.Linear(4, 4), Returns(lambda x: x.float()))
    forward = actlens.capture(model, "*")
    with torch.autocast("cpu", torch.bfloat16):
        _, acts = forward(torch.randn(2, 4))
    assert (acts["0"].dtype, acts["1"].dtype) == (torch.bfloat16, torch.float32)
    assert [info.dtype for info in forward.report.layers.values()] == ["bfloat16", "float32"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype):
    model = nn.Sequential(nn.Linear(4, 4)).to(dtype)
    x = torch.randn(2, 4, dtype=dtype)
    _, acts = actlens.capture(model, "0")(x)
    assert torch.equal(acts["0"], model(x))


def test_channels_last_and_expanded():
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    _, acts = actlens.capture(nn.Sequential(conv), "0")(x)
    assert torch.equal(acts["0"], conv(x))
    assert acts["0"].is_contiguous(memory_format=torch.channels_last)
    _, acts = actlens.capture(Outer(lambda x: x.expand(5, 3)), "layer")(torch.randn(1, 3))
    acts["layer"][0] = 7
    assert (acts["layer"][1] != 7).all()


@pytest.mark.filterwarnings("ignore:.*nested:UserWarning")
def test_a_layer_that_knows_its_axes_gives_a_nested_tensor():
    x = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)])
    model = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(UncapturableValue, match="a nested tensor"):
        actlens.capture(model, "0")(x)


def test_a_slice_of_a_new_tensor_does_not_keep_the_whole():
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            _, acts = actlens.capture(Outer(lambda x: x), {"layer": lambda t: (t * 2)[:, 0]})(
                torch.randn(9, 9)
            )
        assert acts["layer"].untyped_storage().nbytes() == 9 * 4


def test_inference_mode():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    x = torch.randn(2, 4)
    with torch.inference_mode():
        _, acts = actlens.capture(model, {"0": None, "1": "b c -> b"})(x)
        assert torch.equal(acts["0"], model[0](x))


# ---------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def hf():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def gpt2(hf):
    torch.manual_seed(0)
    config = hf.GPT2Config(
        n_layer=2, n_head=2, n_embd=8, vocab_size=20, n_positions=16, attn_implementation="eager"
    )
    return hf.GPT2Model(config).eval()


@pytest.fixture(scope="module")
def llama(hf):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 20}
    config = hf.LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes)
    return hf.LlamaModel(config).eval()


IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])


def test_gpt2_blocks_are_its_hidden_states(gpt2):
    output, acts = actlens.capture(gpt2, ["h.*", "h.*.attn"])(IDS, output_hidden_states=True)
    assert torch.equal(acts["h.0"], output.hidden_states[1])
    # The last hidden state of transformers is after the final norm: not what the last block returns.
    assert not torch.allclose(acts["h.1"], output.hidden_states[2])
    assert torch.equal(gpt2.ln_f(acts["h.1"]), output.hidden_states[2])
    assert acts["h.0.attn[1]"].shape == (2, 2, 4, 4)
    assert torch.equal(output.last_hidden_state, gpt2(IDS).last_hidden_state)


def test_llama_attention_is_called_by_name_only(llama):
    forward = actlens.capture(llama, ["layers.0.self_attn@input", "layers.0.self_attn"])
    _, acts = forward(IDS)
    assert acts["layers.0.self_attn@input[hidden_states]"].shape == (2, 4, 8)
    assert "layers.0.self_attn@input[position_embeddings][0]" in acts
    assert "layers.0.self_attn[0]" in acts


def test_a_model_output_inside_a_model(llama):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = llama, nn.Linear(8, 2)

        def forward(self, ids):
            return self.head(self.body(ids).last_hidden_state)

    forward = actlens.capture(Head().eval(), "body")
    _, acts = forward(IDS)
    assert "body[last_hidden_state]" in acts
    cache = [key for key in [*acts, *forward.report.skipped] if key.startswith("body[past_key_values]")]
    assert cache
    assert torch.equal(acts["body[last_hidden_state]"], llama(IDS).last_hidden_state)


@pytest.mark.slow
def test_generation_fires_once_a_token(hf):
    torch.manual_seed(0)
    config = hf.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=16)
    model = hf.GPT2LMHeadModel(config).eval()

    class Generate(nn.Module):
        def __init__(self):
            super().__init__()
            self.lm = model

        def forward(self, ids):
            return self.lm.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)

    _, acts = actlens.capture(Generate(), "lm.transformer.h.0")(IDS)
    assert [tuple(value.shape) for value in acts.values()] == [(2, 4, 8), (2, 1, 8), (2, 1, 8)]


def test_dropout_of_attention_that_never_fires(hf):
    config = hf.GPT2Config(
        n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=16, attn_implementation="sdpa"
    )
    infos = actlens.layers(hf.GPT2Model(config).eval(), IDS)
    assert infos["h.0.attn.attn_dropout"].note.startswith("never called")


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradient_checkpointing_of_transformers(hf):
    config = hf.GPT2Config(
        n_layer=2, n_head=2, n_embd=8, vocab_size=20, n_positions=16, attn_pdrop=0, resid_pdrop=0
    )
    model = hf.GPT2Model(config).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    forward = actlens.capture(model, {"h.*": "b t d -> b d", "h.*.mlp": None})
    output, acts = forward(IDS)
    output.last_hidden_state.sum().backward()
    assert set(forward.report.calls.values()) == {1}
    assert acts["h.0"].shape == (2, 8)
