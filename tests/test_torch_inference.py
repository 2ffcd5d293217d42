"""inference(): eval without side effects, on the model's device, and undone."""

import collections
import threading

import numpy as np
import pytest
import torch
from torch import nn

import actlens
import actlens_torch
from actlens_torch._inference import device_of, moved


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()


def test_train_mode_flags_and_statistics_are_untouched(model):
    model[2].eval()
    model[0].weight.requires_grad_(False)
    flags = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(8, 4)
    with actlens_torch.inference(model, actlens.capture(model, "**")) as forward:
        modes = []
        handle = model[3].register_forward_hook(
            lambda *_: modes.extend(module.training for module in model.modules())
        )
        output, acts = forward(x)
        handle.remove()
        assert modes == [False] * 5
        assert [module.training for module in model.modules()] == flags
        assert not output.requires_grad
        assert torch.equal(acts["2"], acts["1"])
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(output, model.eval()(x))


def test_a_training_step_between_the_calls_is_in_the_models_own_mode(model):
    modes = []
    with actlens_torch.inference(model, actlens.capture(model, "2")) as forward:
        for step in range(4):
            modes.append([module.training for module in model.modules()])
            model(torch.randn(8, 4)).sum().backward()
            if step == 1:
                model.eval()
            if step == 2:
                model.train()
            _, acts = forward(torch.ones(8, 4))
            assert torch.equal(acts["2"][0], acts["2"][1])  # no dropout
    assert modes == [[True] * 5, [True] * 5, [False] * 5, [True] * 5]
    assert all(module.training for module in model.modules())


def in_threads(*jobs):
    """Run functions in threads; give what each returned or raised."""
    results = [None] * len(jobs)

    def go(at, job):
        try:
            results[at] = job()
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_two_records_of_one_model_in_two_threads(tmp_path):
    model = nn.Sequential(nn.Dropout(0.5), nn.Identity()).train()
    together = threading.Barrier(2, timeout=20)

    def batches():
        for _ in range(5):
            together.wait()
            yield torch.ones(4, 100)

    def job(name):
        return lambda: actlens.record(model, batches(), tmp_path / name, layers="1")["1"][:]

    for values in in_threads(job("a"), job("b")):
        assert (values == 1).all()  # no dropout
    assert all(module.training for module in model.modules())


def test_flags_return_after_an_error(model):
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        with actlens_torch.inference(model, actlens.capture(model, "**")) as forward:
            forward(torch.randn(8, 5))
    assert all(module.training for module in model.modules())


def test_eval_is_not_called():
    class Merging(nn.Linear):
        def train(self, mode=True):
            raise AssertionError("a LoRA layer would merge its weights here")

    model = nn.Sequential(Merging(4, 4))
    with actlens_torch.inference(model, actlens.capture(model, "0")) as forward:
        forward(torch.zeros(2, 4))


def test_gradients_are_off_only_in_the_call(model):
    with actlens_torch.inference(model, actlens.capture(model, "0")) as forward:
        forward(torch.zeros(2, 4))
        assert torch.is_grad_enabled()


def test_what_the_model_caches_can_be_trained_with():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.table = None

        def forward(self, x):
            if self.table is None:
                self.table = torch.ones(4) * 2
            return self.fc(x) * self.table

    model = Caching()
    with actlens_torch.inference(model, actlens.capture(model, "fc")) as forward:
        forward(torch.zeros(2, 4))
    model(torch.zeros(2, 4)).sum().backward()  # under inference_mode this would raise
    assert model.fc.weight.grad is not None


def test_inputs_are_moved():
    Pair = collections.namedtuple("Pair", ["a", "b"])
    device = torch.device("meta")
    value = {
        "x": [np.zeros((2, 3), np.float32), (torch.zeros(1), "text")],
        "pair": Pair(torch.zeros(2), None),
    }
    got = moved(value, device)
    assert got["x"][0].device == got["x"][1][0].device == got["pair"].a.device == device
    assert got["x"][1][1] == "text"
    assert type(got["pair"]) is Pair
    packed = moved(nn.utils.rnn.pack_sequence([torch.zeros(2, 3)]), device)
    assert packed.data.device == device
    assert moved(packed, None) is packed


def test_numpy_inputs():
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    for array in (frozen, frozen[:, ::-1], frozen.astype(">f8"), np.asfortranarray(frozen)):
        np.testing.assert_array_equal(moved(array, torch.device("cpu")).numpy(), array)
    text = np.array(["a"])
    assert moved(text, torch.device("cpu")) is text


def test_transformers_batches_are_moved():
    transformers = pytest.importorskip("transformers")
    batch = transformers.BatchEncoding({"input_ids": torch.zeros(2, 3)})
    assert moved(batch, torch.device("meta"))["input_ids"].device.type == "meta"


def test_device_of_a_model(model):
    assert device_of(model) == torch.device("cpu")
    assert device_of(nn.ReLU()) is None
    model[0].to("meta")
    assert device_of(model) is None


def test_a_model_without_parameters_takes_numpy():
    model = nn.Sequential(nn.ReLU())
    with actlens_torch.inference(model, actlens.capture(model, "0")) as forward:
        _, acts = forward(np.array([[-1.0, 2.0]]))
    assert acts["0"].tolist() == [[0, 2]]
