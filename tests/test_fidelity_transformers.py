"""Models of `transformers`: what is captured is what they return themselves, and what numpy computes."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fidelity_check import Array, assert_close
from fidelity_reference import dense, f64, layer_norm
from torch import nn

import actlens

# set before the import, which reads it: nothing here may ask for a download
os.environ.setdefault("HF_HUB_OFFLINE", "1")
hf = pytest.importorskip("transformers")

# three: a first block, one with captured neighbours on both sides, and the last
BLOCKS = 3
SAMPLES, TOKENS, WIDTH, HEADS, WORDS = 2, 5, 8, 2, 20
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]])
# four patches and the class token: TOKENS again
PIXELS = torch.from_numpy(np.random.default_rng(0).normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32))
# without "eager" there are no attention weights to compare
EAGER = {"attn_implementation": "eager"}
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    **EAGER,
}
ASKED = {"output_hidden_states": True, "output_attentions": True}


def gpt2() -> nn.Module:
    sizes = {"n_layer": BLOCKS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": 16}
    # the tokens of the default configuration are outside this vocabulary, and it says so
    return hf.GPT2Model(hf.GPT2Config(vocab_size=WORDS, bos_token_id=0, eos_token_id=0, **sizes, **EAGER))


def bert() -> nn.Module:
    return hf.BertModel(hf.BertConfig(vocab_size=WORDS, **SIZES))


def vit() -> nn.Module:
    return hf.ViTModel(hf.ViTConfig(image_size=8, patch_size=4, **SIZES))


def llama() -> nn.Module:
    return hf.LlamaModel(hf.LlamaConfig(vocab_size=WORDS, num_key_value_heads=1, **SIZES))


def t5() -> nn.Module:
    sizes = {"d_model": WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": BLOCKS, "num_heads": HEADS}
    return hf.T5Model(hf.T5Config(vocab_size=WORDS, decoder_start_token_id=0, **sizes, **EAGER))


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, the paths in it, and what it calls its own outputs.

    `norm` is what stands behind the last block, '' if nothing does; `ends_in_norm` says whether the last of
    the hidden states is what comes out of it. `attentions` are paths in a block → the output they are in.
    """

    make: Callable[[], nn.Module]
    inputs: dict[str, torch.Tensor]
    embedding: str
    blocks: str
    norm: str
    ends_in_norm: bool
    attentions: dict[str, str]
    projections: tuple[str, ...]
    states: str = "hidden_states"
    last: str = "last_hidden_state"

    def block(self, at: int) -> str:
        return f"{self.blocks}.{at}"

    def inside(self, paths: Any) -> list[str]:
        return [f"{self.block(at)}.{path}" for at in range(BLOCKS) for path in paths]

    def layers(self) -> list[str]:
        """What to capture. The blocks by a pattern: how many it finds is asserted."""
        with_input = [*self.inside(self.projections), *([self.norm] if self.norm else [])]
        inputs = [f"{path}@input" for path in with_input]
        return [self.embedding, f"{self.blocks}.*", *self.inside(self.attentions), *with_input, *inputs]


TEXT = {"input_ids": IDS}
# the decoder reads other tokens, so that its activations cannot be taken for the encoder's
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS.flip(0)}
SELF = "layer.0.SelfAttention"
CROSS = "layer.1.EncDecAttention"

CASES = {
    "gpt2": Case(
        *(gpt2, TEXT, "drop", "h", "ln_f"),
        ends_in_norm=True,
        attentions={"attn": "attentions"},
        projections=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    ),
    "bert": Case(
        *(bert, TEXT, "embeddings", "encoder.layer", ""),
        ends_in_norm=False,
        attentions={"attention.self": "attentions"},
        projections=(
            *("attention.self.query", "attention.self.key", "attention.self.value"),
            *("intermediate.dense", "output.dense"),
        ),
    ),
    # there is a norm behind ViT's blocks, and its hidden states are from before it
    "vit": Case(
        *(vit, {"pixel_values": PIXELS}, "embeddings", "layers", "layernorm"),
        ends_in_norm=False,
        attentions={"attention": "attentions"},
        projections=("attention.q_proj", "attention.k_proj", "attention.v_proj", "mlp.fc1", "mlp.fc2"),
    ),
    "llama": Case(
        *(llama, TEXT, "embed_tokens", "layers", "norm"),
        ends_in_norm=True,
        attentions={"self_attn": "attentions"},
        projections=(
            *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        ),
    ),
    "t5-encoder": Case(
        *(t5, BOTH, "encoder.dropout", "encoder.block", "encoder.final_layer_norm"),
        ends_in_norm=True,
        attentions={SELF: "encoder_attentions"},
        projections=(f"{SELF}.q", f"{SELF}.k", f"{SELF}.v", "layer.1.DenseReluDense.wi"),
        states="encoder_hidden_states",
        last="encoder_last_hidden_state",
    ),
    "t5-decoder": Case(
        *(t5, BOTH, "decoder.dropout", "decoder.block", "decoder.final_layer_norm"),
        ends_in_norm=True,
        attentions={SELF: "decoder_attentions", CROSS: "cross_attentions"},
        projections=(f"{SELF}.q", f"{CROSS}.q", f"{CROSS}.k", f"{CROSS}.v", "layer.2.DenseReluDense.wo"),
        states="decoder_hidden_states",
    ),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """A model, what its twin gave without a capture, what it gave with one, and what was captured."""

    case: Case
    model: nn.Module
    plain: Any
    output: Any
    acts: Any

    @property
    def states(self) -> tuple[torch.Tensor, ...]:
        return self.output[self.case.states]

    def block(self, at: int) -> torch.Tensor:
        """What a block returned: since transformers 5 mostly a tensor, in T5 and before a tuple."""
        path = self.case.block(at)
        keys = [key for key in (path, f"{path}[0]") if key in self.acts]
        assert len(keys) == 1, f"{path} was captured as {keys}"
        return self.acts[keys[0]]


def build(case: Case) -> nn.Module:
    """Make a model whose every weight is random: biases of 0 and scales of 1 hide mistakes."""
    torch.manual_seed(0)
    model = case.make().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return model


@pytest.fixture(params=CASES, scope="module")
def seen(request: pytest.FixtureRequest) -> Seen:
    case = CASES[request.param]
    model = build(case)
    # a twin, as transformers puts hooks of its own into a model when it first runs; here under the capture
    twin = copy.deepcopy(model)
    with torch.no_grad():
        plain = twin(**case.inputs, **ASKED)
        output, acts = actlens.capture(model, case.layers())(**case.inputs, **ASKED)
    return Seen(case, model, plain, output, acts)


def tensors(output: Any) -> dict[str, torch.Tensor]:
    """Every tensor of a model's output by name; the cache is left out."""
    found: dict[str, torch.Tensor] = {}
    for name, value in output.items():
        values = [value] if isinstance(value, torch.Tensor) else value if isinstance(value, tuple) else []
        found |= {f"{name}[{at}]": one for at, one in enumerate(values)}
    return found


def array(value: torch.Tensor) -> Array:
    return value.detach().numpy()


def test_the_output_is_the_models_own(seen: Seen) -> None:
    plain, output = tensors(seen.plain), tensors(seen.output)
    assert list(plain) == list(output)
    assert len(plain) >= 1 + (BLOCKS + 1) + BLOCKS
    assert [name for name in plain if not torch.equal(plain[name], output[name])] == []


def test_nothing_of_the_capture_is_left_in_the_model(seen: Seen) -> None:
    before = {key: value.clone() for key, value in seen.acts.items()}
    with torch.no_grad():
        again = tensors(seen.model(**seen.case.inputs, **ASKED))
    plain = tensors(seen.plain)
    assert list(plain) == list(again)
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert all(torch.equal(before[key], seen.acts[key]) for key in before)


def test_the_capture_is_the_same_if_no_hidden_states_are_asked_for(seen: Seen) -> None:
    with torch.no_grad():
        output, acts = actlens.capture(seen.model, seen.case.layers())(**seen.case.inputs)
    assert not output.get(seen.case.states)
    assert list(acts) == list(seen.acts)
    assert all(torch.equal(acts[key], seen.acts[key]) for key in acts)


def test_blocks_are_the_hidden_states_up_to_the_last(seen: Seen) -> None:
    listed = [at for at in range(10) if any(key.startswith(seen.case.block(at)) for key in seen.acts)]
    assert listed == list(range(BLOCKS))
    assert len(seen.states) == BLOCKS + 1
    compared = [torch.equal(seen.block(at), seen.states[at + 1]) for at in range(BLOCKS)]
    assert compared == [True] * (BLOCKS - 1) + [not seen.case.ends_in_norm]


def test_blocks_are_whole_and_differ(seen: Seen) -> None:
    """No block for another; and not `output[0]` of a tensor, which is the first sample."""
    blocks = [seen.block(at) for at in range(BLOCKS)]
    assert [tuple(one.shape) for one in blocks] == [(SAMPLES, TOKENS, WIDTH)] * BLOCKS
    for one, other in itertools.pairwise(blocks):
        assert not torch.allclose(one, other, atol=1e-2)


def test_the_embedding_is_the_first_hidden_state(seen: Seen) -> None:
    assert torch.equal(seen.acts[seen.case.embedding], seen.states[0])


# BERT normalises inside of its blocks
WITH_NORM = ["gpt2", "vit", "llama", "t5-encoder", "t5-decoder"]


@pytest.mark.parametrize("seen", ["bert"], indirect=True)
def test_without_a_final_norm_the_last_hidden_state_is_the_last_block(seen: Seen) -> None:
    assert torch.equal(seen.block(BLOCKS - 1), seen.output.last_hidden_state)


@pytest.mark.parametrize("seen", WITH_NORM, indirect=True)
def test_the_last_hidden_state_is_behind_the_final_norm(seen: Seen) -> None:
    """Whether the last of the hidden states is, is the model's choice; `last_hidden_state` always is."""
    block, last, norm = seen.block(BLOCKS - 1), seen.output[seen.case.last], seen.acts[seen.case.norm]
    assert torch.equal(seen.acts[f"{seen.case.norm}@input"], block)
    assert not torch.allclose(block, norm, atol=1e-2)
    # T5 has a dropout behind the norm, which does nothing in evaluation
    assert torch.equal(norm, last)
    assert torch.equal(norm, seen.states[-1]) == seen.case.ends_in_norm


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
    x = f64(x)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * f64(scale)


@pytest.mark.parametrize("seen", WITH_NORM, indirect=True)
def test_the_final_norm_is_what_numpy_computes(seen: Seen) -> None:
    norm: Any = seen.model.get_submodule(seen.case.norm)
    x, scale = array(seen.acts[f"{seen.case.norm}@input"]), array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        expected = layer_norm(x, scale, array(norm.bias), norm.eps)
    else:
        expected = rms_norm(x, scale, norm.variance_epsilon)
    assert_close(seen.case.norm, array(seen.acts[seen.case.norm]), expected)


def test_attention_weights_are_those_that_the_model_returns(seen: Seen) -> None:
    for inner, name in seen.case.attentions.items():
        returned = seen.output[name]
        assert [tuple(one.shape) for one in returned] == [(SAMPLES, HEADS, TOKENS, TOKENS)] * BLOCKS
        for at, expected in enumerate(returned):
            np.testing.assert_allclose(array(expected).sum(-1), 1, rtol=1e-5)
            # which leaf they are depends on the model; that they are of no other block is seen here too
            start = f"{seen.case.block(at)}.{inner}["
            leaves = [value for key, value in seen.acts.items() if key.startswith(start)]
            found = [
                other for leaf in leaves for other in range(BLOCKS) if torch.equal(leaf, returned[other])
            ]
            assert found == [at]


def test_projections_are_x_times_w_plus_b(seen: Seen) -> None:
    paths = seen.case.inside(seen.case.projections)
    assert len(paths) >= 4 * BLOCKS
    for path in paths:
        layer: Any = seen.model.get_submodule(path)
        # GPT-2's Conv1D and the layers without a bias are here to stay, or this tests less than it says
        assert isinstance(layer, nn.Linear) == (seen.case.make is not gpt2)
        assert (layer.bias is not None) == (seen.case.make in {gpt2, bert, vit})
        weight, bias = array(layer.weight), None if layer.bias is None else array(layer.bias)
        # GPT-2's Conv1D keeps its weights as (in, out), nn.Linear as (out, in)
        kernel = weight.T if isinstance(layer, nn.Linear) else weight
        assert_close(path, array(seen.acts[path]), dense(array(seen.acts[f"{path}@input"]), kernel, bias))
