"""layers(): one call of the model, which changes nothing."""

import copy
import functools

import pytest
import torch
from torch import nn

import actlens
import actlens_torch
from actlens.errors import UnsupportedModel


class Order(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 2)
        self.unused = nn.Linear(1, 1)
        self.first = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.silent = nn.Module()
        self.silent.forward = lambda x: None

    def forward(self, x):
        self.silent(x)
        return self.last(self.norm(self.first(x)))


def snapshot(model):
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    return tensors, [(m.training, sorted(vars(m)), len(m._forward_hooks)) for m in model.modules()]


def unchanged(model, before):
    tensors, rest = snapshot(model)
    assert rest == before[1]
    assert all(torch.equal(value, before[0][key]) for key, value in tensors.items())


def test_order_shapes_and_what_is_never_called():
    model = Order().train()
    before = snapshot(model)
    infos = actlens_torch.layers(model, torch.randn(5, 4))
    assert list(infos) == ["first", "norm", "last", "unused", "silent"]
    assert [info.shape for info in infos.values()] == [(5, 8), (5, 8), (5, 2), None, None]
    assert infos["first"].axes == ("sample", "unit")
    assert infos["unused"].note.startswith("never called")
    assert infos["silent"].note == "returned no tensor"
    unchanged(model, before)
    assert list(actlens_torch.layers(model)) == ["last", "unused", "first", "norm", "silent"]


@functools.lru_cache
def triangle(size):
    return torch.ones(size, size).tril()


class Store:
    def __init__(self):
        self.items = [[]]


def test_the_call_is_a_real_one_so_that_no_cache_is_spoilt():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out, self.store = nn.Linear(4, 4), nn.Identity(), Store()

        def forward(self, x):
            if not self.store.items[0]:
                self.store.items[0].append(torch.full((4,), 2.0))
            return self.out(self.fc(x) @ triangle(4) * self.store.items[0][0])

    triangle.cache_clear()
    model, x = Caching(), torch.ones(2, 4)
    assert actlens_torch.layers(model, x)["out"].shape == (2, 4)
    assert type(triangle(4)) is torch.Tensor
    assert torch.allclose(model(x), model.fc(x) @ torch.ones(4, 4).tril() * 2)
    model(x).sum().backward()
    assert model.fc.weight.grad is not None


def test_it_runs_once_on_values_in_evaluation_mode():
    runs = []

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.drop = nn.Linear(4, 8), nn.Linear(4, 2), nn.Dropout(0.5)
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            runs.append((type(x), self.training, torch.is_grad_enabled()))
            torch.rand(1)
            x = self.drop(self.norm(x))
            return self.up(x) if x.sum() > 0 else self.down(x)

    model = Branch().train()
    before = snapshot(model)
    torch.manual_seed(0)
    random = torch.get_rng_state()
    infos = actlens_torch.layers(model, torch.ones(3, 4))
    assert runs == [(torch.Tensor, False, False)]
    assert infos["up"].shape == (3, 8)
    assert infos["down"].note.startswith("never called")
    assert torch.equal(torch.get_rng_state(), random)
    unchanged(model, before)


def test_an_error_of_the_model_comes_out():
    model = Order()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        actlens_torch.layers(model, torch.randn(5, 3))
    unchanged(model, before)


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(1))
        self.table, self.seen, self.cache = None, [], {"old": 1}

    def forward(self, x):
        self.table = x * 2
        self.seen.append(x)
        self.cache["new"] = x
        self.count += 1
        return self.fc(x)


def test_what_the_model_caches_is_taken_back():
    model = nn.Sequential(Caching())
    before = snapshot(model)
    actlens_torch.layers(model, torch.randn(2, 4))
    unchanged(model, before)
    assert (model[0].table, model[0].seen, model[0].cache) == (None, [], {"old": 1})
    assert model(torch.randn(2, 4)).shape == (2, 4)


def test_the_example_is_not_written_into():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, store=None):
            store.items.append(x)
            return self.fc(x.zero_())

    x, store = torch.ones(2, 4), Store()
    assert actlens_torch.layers(Writes(), x, store=store)["fc"].shape == (2, 4)
    assert (x == 1).all()
    assert store.items == [[]]


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_layers_stay_lazy():
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedModel, match="this Sequential has lazy parameters.*Call it once"):
        actlens_torch.layers(model, torch.randn(5, 4))
    assert isinstance(model[0], nn.LazyLinear)
    assert list(actlens_torch.layers(model)) == ["0", "1", "2"]
    _, acts = actlens.capture(model, "**")(torch.randn(5, 3))  # a real call may take its shapes
    assert [value.shape[1] for value in acts.values()] == [8, 8, 2]
    assert actlens_torch.layers(model, torch.randn(5, 3))["0"].type == "Linear"


def test_odd_buffers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("sparse", torch.eye(4).to_sparse())
            self.register_buffer("nan", torch.full((2,), float("nan")))
            with torch.inference_mode():
                self.register_buffer("fixed", torch.zeros(2))

        def forward(self, x):
            return self.fc(x)

    assert actlens_torch.layers(Model(), torch.randn(5, 4))["fc"].shape == (5, 4)


def test_numpy_examples_and_keywords():
    import numpy as np

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, *, pixels):
            return {"logits": self.fc(pixels)}

    assert actlens_torch.layers(Model(), pixels=np.zeros((3, 4), np.float32))["fc"].shape == (3, 2)


def test_keys_are_those_of_a_capture():
    model = nn.Sequential(nn.LSTM(3, 4), nn.Identity())
    model[1].forward = lambda out: out[0]
    infos = actlens_torch.layers(model, torch.randn(5, 2, 3))
    _, acts = actlens.capture(model, "**")(torch.randn(5, 2, 3))
    assert {key: info.shape for key, info in infos.items()} == {k: tuple(v.shape) for k, v in acts.items()}
    assert infos["0[0]"].axes == ("time", "sample", "unit")


def test_a_stack_inside_one_layer_is_noted():
    model = nn.Sequential(nn.LSTM(3, 4, num_layers=3))
    for infos in (actlens_torch.layers(model), actlens_torch.layers(model, torch.randn(5, 2, 3))):
        assert {info.note for info in infos.values()} == {"only the last of its 3 layers is visible"}
    assert actlens_torch.layers(nn.Sequential(nn.GRU(3, 4)))["0"].note == ""


def test_experts_of_a_mixture():
    hf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 20}
    config = hf.MixtralConfig(num_attention_heads=2, num_key_value_heads=1, num_local_experts=2, **sizes)
    infos = actlens_torch.layers(hf.MixtralModel(config).eval(), torch.ones(2, 3, dtype=torch.long))
    assert infos["layers.0.mlp.gate[0]"].shape == (6, 2)  # the logits of the router; experts are one module
    assert infos["layers.0.mlp"].shape == (2, 3, 8)


def test_a_table_of_a_transformer():
    hf = pytest.importorskip("transformers")
    config = hf.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=20, n_positions=16)
    model = hf.GPT2Model(config).train()
    before = copy.deepcopy(model.state_dict())
    table = actlens.layers(model, torch.ones(2, 4, dtype=torch.long))
    assert table["h.1.mlp"].shape == (2, 4, 8)
    assert "h.1.mlp" in str(table)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
