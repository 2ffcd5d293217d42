"""Models of `transformers`: what is captured is what they return themselves, and what numpy computes."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest
import torch

import actlens

os.environ.setdefault("HF_HUB_OFFLINE", "1")
hf = pytest.importorskip("transformers")

BLOCKS = 3
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]])
SIZES = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, and the paths in it.

    `norm`: what stands between the last block and the last of the hidden states; '' if nothing does.
    """

    make: Any
    inputs: dict[str, torch.Tensor]
    embedding: str
    blocks: str
    norm: str
    states: str = "hidden_states"
    attention: str = ""
    attentions: str = "attentions"


def gpt2() -> Any:
    return hf.GPT2Model(
        hf.GPT2Config(
            n_layer=BLOCKS, n_head=2, n_embd=8, vocab_size=20, n_positions=16, attn_implementation="eager"
        )
    )


def bert() -> Any:
    return hf.BertModel(hf.BertConfig(vocab_size=20, attn_implementation="eager", **SIZES))


def vit() -> Any:
    return hf.ViTModel(hf.ViTConfig(image_size=8, patch_size=4, attn_implementation="eager", **SIZES))


def llama() -> Any:
    config = hf.LlamaConfig(vocab_size=20, num_key_value_heads=1, attn_implementation="eager", **SIZES)
    return hf.LlamaModel(config)


def t5() -> Any:
    sizes: dict[str, Any] = {
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 16,
        "num_layers": BLOCKS,
        "num_heads": 2,
        "vocab_size": 20,
    }
    return hf.T5Model(hf.T5Config(decoder_start_token_id=0, attn_implementation="eager", **sizes))


PIXELS = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
TEXT = {"input_ids": IDS}
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS.flip(0)}
CASES = {
    "gpt2": Case(gpt2, TEXT, "drop", "h", "ln_f", attention="attn"),
    "bert": Case(bert, TEXT, "embeddings", "encoder.layer", "", attention="attention.self"),
    "vit": Case(vit, {"pixel_values": PIXELS}, "embeddings", "layers", "", attention="attention"),
    "llama": Case(llama, TEXT, "embed_tokens", "layers", "norm", attention="self_attn"),
    "t5-encoder": Case(
        *(t5, BOTH, "encoder.dropout", "encoder.block", "encoder.final_layer_norm"),
        states="encoder_hidden_states",
        attention="layer.0.SelfAttention",
        attentions="encoder_attentions",
    ),
    "t5-decoder": Case(
        *(t5, BOTH, "decoder.dropout", "decoder.block", "decoder.final_layer_norm"),
        states="decoder_hidden_states",
        attention="layer.0.SelfAttention",
        attentions="decoder_attentions",
    ),
}


@pytest.fixture(params=CASES, scope="module")
def seen(request: pytest.FixtureRequest) -> tuple[Case, Any, Any, Any, Any]:
    """The case, the model, its output without a capture, its output with one, and what was captured."""
    case = CASES[request.param]
    torch.manual_seed(0)
    model = case.make().eval()
    more = [case.norm, f"{case.norm}@input"] if case.norm else []
    layers = [case.embedding, f"{case.blocks}.*", f"{case.blocks}.*.{case.attention}", *more]
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        plain = model(**case.inputs, **asked)
        output, acts = actlens.capture(model, layers)(**case.inputs, **asked)
    return case, model, plain, output, acts


def block(case: Case, acts: Any, at: int) -> torch.Tensor:
    """What a block returned, whether this version gives a tensor or a tuple."""
    path = f"{case.blocks}.{at}"
    result: torch.Tensor = acts[path] if path in acts else acts[f"{path}[0]"]
    return result


def test_the_output_is_the_models_own(seen: Any) -> None:
    case, _, plain, output, _ = seen
    assert torch.equal(output.last_hidden_state, plain.last_hidden_state)
    for name in (case.states, case.attentions):
        assert len(output[name]) == len(plain[name]) > 0
        assert all(map(torch.equal, output[name], plain[name]))


def test_blocks_are_the_hidden_states_up_to_the_last(seen: Any) -> None:
    case, _, _, output, acts = seen
    states = output[case.states]
    assert len(states) == BLOCKS + 1
    assert torch.equal(acts[case.embedding], states[0])
    for at in range(BLOCKS - 1):
        assert torch.equal(block(case, acts, at), states[at + 1])
    assert torch.equal(block(case, acts, BLOCKS - 1), states[-1]) == (case.norm == "")


def test_the_last_hidden_state_is_behind_the_final_norm(seen: Any) -> None:
    case, model, _, output, acts = seen
    if not case.norm:
        assert torch.equal(block(case, acts, BLOCKS - 1), output[case.states][-1])
        return
    assert not torch.allclose(block(case, acts, BLOCKS - 1), output[case.states][-1], atol=1e-2)
    assert torch.equal(acts[f"{case.norm}@input"], block(case, acts, BLOCKS - 1))
    computed = normalised(acts[f"{case.norm}@input"].numpy(), model.get_submodule(case.norm))
    np.testing.assert_allclose(acts[case.norm].numpy(), computed, rtol=1e-5, atol=1e-5)
    # T5 has a dropout behind the norm, which does nothing in evaluation
    assert torch.equal(acts[case.norm], output[case.states][-1])


def normalised(x: np.ndarray[Any, Any], norm: Any) -> np.ndarray[Any, Any]:
    """LayerNorm, or RMSNorm where there is no bias, in float64."""
    x = x.astype(np.float64)
    weight = norm.weight.detach().numpy()
    if not hasattr(norm, "bias"):
        return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.variance_epsilon) * weight)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return np.asarray(scaled * weight + norm.bias.detach().numpy())


def test_attention_weights_are_those_that_the_model_returns(seen: Any) -> None:
    case, _, _, output, acts = seen
    returned = output[case.attentions]
    assert len(returned) == BLOCKS
    for at in range(BLOCKS):
        path = f"{case.blocks}.{at}.{case.attention}"
        captured = [value for key, value in acts.items() if key.startswith(f"{path}[")]
        assert any(
            value.shape == returned[at].shape and torch.equal(value, returned[at]) for value in captured
        )
        np.testing.assert_allclose(returned[at].sum(-1).numpy(), 1, rtol=1e-5)


def test_projections_are_x_times_w() -> None:
    """GPT-2 keeps its weights as (in, out), the others as (out, in)."""
    torch.manual_seed(0)
    layers = {
        "gpt2": ["h.1.attn.c_attn", "h.1.mlp.c_fc"],
        "llama": ["layers.1.self_attn.q_proj", "layers.1.mlp.up_proj"],
    }
    for name, paths in layers.items():
        model = CASES[name].make().eval()
        _, acts = actlens.capture(model, [*paths, *(f"{path}@input" for path in paths)])(IDS)
        for path in paths:
            layer = model.get_submodule(path)
            weight = layer.weight.detach().double().numpy()
            weight = weight if name == "gpt2" else weight.T
            bias = 0 if layer.bias is None else layer.bias.detach().double().numpy()
            x = acts[f"{path}@input"].detach().double().numpy()
            np.testing.assert_allclose(acts[path].detach().numpy(), x @ weight + bias, rtol=1e-5, atol=1e-6)
