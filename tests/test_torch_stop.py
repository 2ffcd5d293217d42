"""stop=True: ends after the last layer that is needed, and says when it cannot."""

import numpy as np
import pytest
import torch
from torch import nn

import actlens
from actlens.stopping import Unknown
from actlens.stopping import signature as signature_of
from actlens_torch._stop import of_tensor


def signature(value):
    return signature_of(value, of_tensor)


class Counted(nn.Module):
    def __init__(self, log, name):
        super().__init__()
        self.fc, self.log, self.name = nn.Linear(4, 4), log, name

    def forward(self, x):
        self.log.append(self.name)
        return self.fc(x)


@pytest.fixture
def log():
    return []


@pytest.fixture
def model(log):
    return nn.Sequential(*(Counted(log, i) for i in range(8)))


def test_later_calls_end_early(model, log):
    x = torch.randn(2, 4)
    full_output, full = actlens.capture(model, ["1", "3.fc"])(x)
    forward = actlens.capture(model, ["1", "3.fc"], stop=True)
    log.clear()
    output, acts = forward(x)
    assert output is None
    assert log == list(range(8))
    assert "first forward ran in full" in str(forward.report)
    for _ in range(2):
        log.clear()
        output, acts = forward(x)
        assert output is None
        assert log == [0, 1, 2, 3]  # 4 of 8 layers
        assert forward.report.notes == ()
        assert list(acts) == ["1", "3.fc"]
        assert all(torch.equal(acts[key], full[key]) for key in full)
    assert full_output is not None


def test_an_input_ends_before_its_layer(model, log):
    forward = actlens.capture(model, "4@input", stop=True)
    x = torch.randn(2, 4)
    forward(x)
    log.clear()
    forward(x)
    assert log == [0, 1, 2, 3]


def test_a_new_kind_of_input_is_learned_again(model, log):
    forward = actlens.capture(model, "0", stop=True)
    for rows, layers_run in ((2, 8), (2, 1), (3, 8), (3, 1), (2, 1)):
        log.clear()
        forward(torch.randn(rows, 4))
        assert len(log) == layers_run
    model.eval()
    log.clear()
    forward(torch.randn(2, 4))
    assert len(log) == 8


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_signature():
    x = torch.zeros(2, 3)
    assert signature(((x, 1), {"mask": None})) == signature(((x + 1, 1), {"mask": None}))
    array = np.zeros((2, 3))
    assert signature(array) == signature(array + 1)
    different = [x[:1], x.int(), True, 1, 1.0, "a", b"a", None, [x, x], {"a": x}, {"b": x}, torch.int8]
    different += [torch.tensor(1), torch.tensor(2), torch.tensor([2]), torch.tensor(2.0)]
    different += [array, array[:1], array.astype(int), np.array(1), np.array(2), np.int8(2)]
    assert len({signature(value) for value in different}) == len(different)
    nested = torch.nested.nested_tensor([x[0]])
    for unknown in (object(), object, [{1}], {"a": nested}, np.array([object()]), lambda: 0):
        with pytest.raises(Unknown):
            signature(unknown)
    with pytest.raises(Unknown, match="cannot be read"):
        torch.vmap(signature)(torch.zeros(2))


class Repeats(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(4, 4)

    def forward(self, x, steps):
        for _ in range(int(getattr(steps, "steps", steps))):
            x = self.cell(x)
        return x


@pytest.mark.parametrize("kind", [int, torch.tensor, np.array, lambda n: torch.tensor([n])])
def test_a_number_counts_by_its_value(kind):
    forward = actlens.capture(Repeats(), "cell", stop=True)
    forward(torch.randn(2, 4), kind(1))
    _, acts = forward(torch.randn(2, 4), kind(3))
    assert list(acts) == ["cell", "cell:2", "cell:3"]


def test_an_argument_of_an_unknown_type_runs_in_full():
    class Config:
        def __init__(self, steps):
            self.steps = steps

    config, forward = Config(1), actlens.capture(Repeats(), "cell", stop=True)
    for config.steps in (1, 1, 3):
        output, acts = forward(torch.randn(2, 4), config)
        assert output is None
        assert len(acts) == config.steps
        assert "an argument is a test_torch_stop.test_an" in str(forward.report)
        assert "whose content may decide which layers fire" in str(forward.report)


def test_kinds_of_input_are_not_kept_for_ever(model, log, monkeypatch):
    monkeypatch.setattr("actlens.stopping._REMEMBERED", 2)
    forward = actlens.capture(model, "0", stop=True)
    for rows in (1, 2, 3, 1):
        forward(torch.randn(rows, 4))
    assert len(log) == 32


def test_a_layer_called_twice_runs_in_full(log):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.tail = nn.Linear(4, 4), Counted(log, "tail")

        def forward(self, x):
            return self.tail(self.fc(self.fc(x)))

    forward = actlens.capture(Twice(), "fc", stop=True)
    for _ in range(3):
        output, acts = forward(torch.randn(2, 4))
        assert output is None
        assert list(acts) == ["fc", "fc:2"]
        assert "every forward runs in full, because 'fc' is called more than once" in str(forward.report)
    assert log == ["tail"] * 3


def test_always_call_hooks_run_in_full(model, log):
    model[6].register_forward_hook(lambda *args: None, always_call=True)
    forward = actlens.capture(model, "0", stop=True)
    for _ in range(2):
        log.clear()
        assert forward(torch.randn(2, 4))[0] is None
        assert len(log) == 8
    assert "a hook of Counted is registered with always_call=True" in str(forward.report)


def test_distributed_models_run_in_full(model, log):
    class FullyShardedDataParallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self._fsdp_wrapped_module = module

        def forward(self, x):
            return self._fsdp_wrapped_module(x)

    forward = actlens.capture(FullyShardedDataParallel(model), "0", stop=True)
    for _ in range(2):
        log.clear()
        forward(torch.randn(2, 4))
        assert len(log) == 8
    assert "FullyShardedDataParallel needs every process to finish it" in str(forward.report)


def test_handlers_in_the_model_let_the_end_pass():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.failed = nn.Linear(4, 4), 0

        def forward(self, x):
            try:
                return self.fc(x)
            except Exception:
                self.failed += 1
                raise

    model = Careful()
    forward = actlens.capture(model, "fc", stop=True)
    for _ in range(2):
        forward(torch.randn(2, 4))
    assert model.failed == 0
    assert not model.fc._forward_hooks


def test_with_gradients_and_transforms(model):
    forward = actlens.capture(model, {"2": "b c -> b"}, stop=True)
    x = torch.randn(2, 4)
    forward(x)
    _, acts = forward(x)
    acts["2"].sum().backward()
    assert model[0].fc.weight.grad is not None
    assert model[3].fc.weight.grad is None
