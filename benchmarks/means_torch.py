"""Recording in PyTorch, by every means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
SIZES = {"resnet18": (32, 3, 64, 64), "mlp": (256, 256)}  # one batch
LARGE = "actlens 256 MiB shards"
TORCHLENS_BATCH = 32  # as resnet18's batch


def model(name: str):
    """Give a model in evaluation mode, the same weights each time."""
    import models_torch
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    return {"resnet18": models_torch.ResNet18, "mlp": models_torch.MLP}[name]().eval()


def batches(model_name: str, rows: int) -> Iterator:
    """Give batches of noise; one tensor, so that the data takes no memory that grows."""
    import torch

    batch = torch.randn(SIZES[model_name], generator=torch.Generator().manual_seed(0))
    for at in range(0, rows, len(batch)):
        yield batch[: min(len(batch), rows - at)]


def bare(model, batches, _out: Path) -> None:
    import torch

    with torch.no_grad():
        for batch in batches:
            model(batch)


def _hooked(model, batches, keep: Callable[[str, object], None]) -> None:
    """The loop that people write: a hook a layer, which clones."""
    import torch

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, y, name=name: keep(name, y.detach().clone())
        )
        for name in LAYERS
    ]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()


def hooks_np_save(model, batches, out: Path) -> None:
    import numpy as np

    counts = dict.fromkeys(LAYERS, 0)

    def keep(name, value):
        np.save(out / f"{name}-{counts[name]}.npy", value.numpy())
        counts[name] += 1

    _hooked(model, batches, keep)


def hooks_np_save_durable(model, batches, out: Path) -> None:
    """As hooks_np_save, each file synced to the disk, as actlens does by default."""
    import os

    import numpy as np

    counts = dict.fromkeys(LAYERS, 0)

    def keep(name, value):
        with (out / f"{name}-{counts[name]}.npy").open("wb") as file:
            np.save(file, value.numpy())
            file.flush()
            os.fsync(file.fileno())
        counts[name] += 1

    _hooked(model, batches, keep)


def hooks_pickle(model, batches, out: Path) -> None:
    import pickle

    kept = {name: [] for name in LAYERS}
    _hooked(model, batches, lambda name, value: kept[name].append(value.numpy()))
    with (out / "activations.pkl").open("wb") as file:
        pickle.dump(kept, file, protocol=5)


def hooks_h5py(model, batches, out: Path) -> None:
    import h5py

    with h5py.File(out / "activations.h5", "w") as file:

        def keep(name, value):
            array = value.numpy()
            if name not in file:
                shape = (0, *array.shape[1:])
                file.create_dataset(name, shape, "f4", maxshape=(None, *shape[1:]), chunks=array.shape)
            data = file[name]
            data.resize(len(data) + len(array), 0)
            data[-len(array) :] = array

        _hooked(model, batches, keep)


def torchvision_np_save(model, batches, out: Path) -> None:
    import numpy as np
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor = create_feature_extractor(model, LAYERS)
    with torch.no_grad():
        for i, batch in enumerate(batches):
            for name, value in extractor(batch).items():
                np.save(out / f"{name}-{i}.npy", value.numpy())


def torchlens_extract(model, batches, out: Path) -> None:
    import torchlens

    stimuli = (row for batch in batches for row in batch)  # it batches anew, to the same size
    torchlens.extract_dataset(
        model, stimuli, LAYERS, TORCHLENS_BATCH, output_dir=out / "lens", progress=False
    )


def actlens_record(model, batches, out: Path, **options) -> None:
    import actlens

    actlens.record(model, batches, out / "run", layers=LAYERS, progress=False, **options)


METHODS: dict[str, Callable] = {
    "bare": bare,
    "hooks+np.save": hooks_np_save,
    "hooks+np.save+fsync": hooks_np_save_durable,
    "hooks+pickle": hooks_pickle,
    "hooks+h5py": hooks_h5py,
    "torchvision+np.save": torchvision_np_save,
    "torchlens": torchlens_extract,
    "actlens": actlens_record,
    "actlens rename": lambda *a: actlens_record(*a, durability="rename"),
    "actlens float16": lambda *a: actlens_record(*a, dtype="float16"),
}
METHODS[LARGE] = lambda *a: actlens_record(*a, shard_bytes=256 << 20)
