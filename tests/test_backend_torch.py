"""The adapter contract, held against actlens_torch."""

import ml_dtypes
import numpy as np
import torch
from torch import nn

import actlens_torch
from actlens.backend import Backend
from actlens.testing import BackendTests

backend: Backend = actlens_torch


def dense(weight, bias=None):
    layer = nn.Linear(*weight.shape, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer


class MLP(nn.Module):
    def __init__(self, w, drop=None):
        super().__init__()
        self.first = dense(w["w1"], w["b1"])
        self.act = nn.ReLU(inplace=True)
        if drop is not None:
            self.drop = drop
        self.last = dense(w["w2"], w["b2"])

    def forward(self, x):
        h = self.act(self.first(x))
        return self.last(self.drop(h) if hasattr(self, "drop") else h)


class Boom(nn.Module):
    def forward(self, x):
        raise RuntimeError("boom")


class Shared(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.dense = dense(w["w"], w["b"])

    def forward(self, x):
        return self.dense(self.dense(x))


class Parts(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(w["w"]))

    def forward(self, x):
        h = x @ self.weight
        return {"h": h, "pair": (h + 1, None)}


class Structured(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.parts = Parts(w)

    def forward(self, x):
        return self.parts(x)


def state(model):
    per_module = [
        (
            name,
            module.training,
            sorted(vars(module)),
            {key: len(value) for key, value in vars(module).items() if isinstance(value, dict)},
        )
        for name, module in model.named_modules()
    ]
    return per_module, {key: value.numpy().tobytes() for key, value in model.state_dict().items()}


class TestTorch(BackendTests):
    backend = backend

    def mlp(self, weights):
        return MLP(weights)

    def shared(self, weights):
        return Shared(weights)

    def structured(self, weights):
        return Structured(weights)

    def conv(self, weights):
        layer = nn.Conv2d(2, 3, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights["kernel"].transpose(3, 2, 0, 1).copy()))
            layer.bias.copy_(torch.from_numpy(weights["bias"]))
        model = nn.Sequential()
        model.add_module("conv", layer)
        return model

    def dropout(self, weights):
        model = MLP(weights, nn.Dropout(0.5)).train()
        model.act.eval()  # each module has its own flag
        return model

    def failing(self, weights):
        model = MLP(weights)
        model.last = Boom()
        return model

    def array(self, values):
        bits = {ml_dtypes.bfloat16: torch.bfloat16, ml_dtypes.float8_e4m3fn: torch.float8_e4m3fn}
        kind = bits.get(values.dtype.type)
        if kind is None:
            return torch.from_numpy(np.array(values))
        as_ints = values.view(f"u{values.dtype.itemsize}").astype(f"i{values.dtype.itemsize}")
        return torch.from_numpy(as_ints).view(kind)

    def images(self, values):
        return torch.from_numpy(values.transpose(0, 3, 1, 2).copy())

    def numpy(self, array):
        return np.array(array.detach().numpy())

    def state(self, model):
        return state(model)

    def overwrite(self, array):
        with torch.no_grad():
            array.fill_(99)
