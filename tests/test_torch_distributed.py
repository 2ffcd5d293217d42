"""DDP, FSDP and tensor parallelism, in a world of one CPU process."""

import pytest
import torch
from torch import nn

import actlens
import actlens_torch

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, about a world of one


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    meeting = tmp_path_factory.mktemp("world") / "rendezvous"
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True)), nn.Linear(8, 3))


def ddp(model, mesh):
    return nn.parallel.DistributedDataParallel(model)


def fsdp1(model, mesh):
    fsdp = torch.distributed.fsdp.FullyShardedDataParallel
    model[0] = fsdp(model[0], device_id=torch.device("cpu"))
    return fsdp(model, device_id=torch.device("cpu"))


def fsdp2(model, mesh):
    torch.distributed.fsdp.fully_shard(model[0], mesh=mesh)
    return torch.distributed.fsdp.fully_shard(model, mesh=mesh)


@pytest.mark.parametrize("wrap", [ddp, fsdp1, fsdp2])
def test_names_values_and_gradients(wrap, mesh):
    x = torch.randn(5, 4)
    output, expected = actlens.capture(mlp(), "**")(x)
    model = wrap(mlp(), mesh)
    calls = []
    model.register_forward_hook(lambda *args: calls.append(1))
    assert list(actlens.layers(model, x)) == ["0.0", "0.1", "0", "1"]
    calls.clear()
    forward = actlens.capture(model, "**")
    got, acts = forward(x)
    assert calls == [1]  # the wrapper itself was called
    assert torch.allclose(got, output)
    assert list(acts) == list(expected)
    assert all(torch.allclose(acts[key], expected[key]) for key in expected)
    got.sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("wrap", "name"),
    [(ddp, "DistributedDataParallel"), (fsdp1, "FullyShardedDataParallel"), (fsdp2, "FSDPModule")],
)
def test_no_process_stops_early(wrap, name, mesh):
    model = wrap(mlp(), mesh)
    calls = []
    model.register_forward_hook(lambda *args: calls.append(1))
    forward = actlens.capture(model, "0.0", stop=True)
    for _ in range(2):
        assert forward(torch.randn(5, 4))[0] is None
    assert calls == [1, 1]
    assert f"{name} needs every process to finish it" in str(forward.report)


@pytest.mark.parametrize("grad", [True, False])
def test_distributed_tensors_are_gathered(mesh, grad):
    parallel = torch.distributed.tensor.parallel
    model = nn.Sequential(nn.Linear(4, 8))
    x = torch.randn(5, 4)
    expected = model(x)
    parallel.parallelize_module(model[0], mesh, parallel.ColwiseParallel(use_local_output=False))
    with torch.set_grad_enabled(grad):
        output, acts = actlens.capture(model, "0")(x)
    assert type(acts["0"]) is torch.Tensor
    assert torch.allclose(acts["0"], expected)
    assert actlens_torch.fetch({"a": output})()["a"].shape == (5, 8)
    assert actlens.layers(model, x)["0"].shape == (5, 8)
