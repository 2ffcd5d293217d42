"""record(): batches of every form, the model left as it was, the right rows, refusals first."""

from __future__ import annotations

import contextlib
import os
import shutil

import numpy as np
import pytest

import actlens
from actlens.budget import parse_bytes
from actlens.errors import (
    ArgumentError,
    BatchError,
    BudgetExceeded,
    ColumnError,
    EmptyCapture,
    IdError,
    InputError,
    LayerNeverFired,
    NoLayerMatches,
    RecordingError,
    RowsError,
    UnsupportedModel,
)
from actlens.recorder import Recorder

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
    )


@pytest.fixture
def x():
    return torch.randn(50, 4, generator=torch.Generator().manual_seed(1))


def expected(model, x):
    """The activations of layers 0 and 4, by numpy."""
    first = x.numpy() @ model[0].weight.detach().numpy().T + model[0].bias.detach().numpy()
    norm = model[2]
    relu = np.maximum(first, 0)
    scale = norm.weight.detach().numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    normed = (relu - norm.running_mean.numpy()) * scale + norm.bias.detach().numpy()
    return first, normed @ model[4].weight.detach().numpy().T + model[4].bias.detach().numpy()


def batches(x, size=16, **columns):
    for at in range(0, len(x), size):
        yield (x[at : at + size], *(column[at : at + size] for column in columns.values()))


def check(run, model, x, ids=None):
    first, last = expected(model, x)
    np.testing.assert_allclose(run["0"][:], first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run["4"][:], last, rtol=1e-5, atol=1e-6)
    assert run.ids.tolist() == (list(range(len(x))) if ids is None else ids)


LAYERS = ["0", "4"]


@pytest.mark.parametrize(
    "form",
    {
        "arrays": lambda x, y: [x[:20], x[20:]],
        "numpy": lambda x, y: [x[:20].numpy(), x[20:].numpy()],
        "tuples": lambda x, y: batches(x, label=y),
        "lists": lambda x, y: [list(batch) for batch in batches(x, label=y)],
        "loader": lambda x, y: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, y), batch_size=7
        ),
        "generator": lambda x, y: (x[i : i + 1] for i in range(len(x))),
    }.items(),
    ids=lambda item: item[0],
)
def test_every_form_of_batches(tmp_path, model, x, form):
    name, make = form
    y = torch.arange(50)
    columns = ["label"] if name in {"tuples", "lists", "loader"} else []
    run = actlens.record(model, make(x, y), tmp_path / "r", layers=LAYERS, columns=columns)
    check(run, model, x)
    assert run["0"].axes == ("sample", "unit")
    assert run["0"].type == "Linear"
    if columns:
        assert run.columns["label"].tolist() == list(range(50))
    assert (run.info["framework"], run.info["model"]) == ("torch", "Sequential")
    assert run.info["framework_version"] == torch.__version__
    assert run.info["layers"] == {"0": None, "4": None}


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Identity()

    def forward(self, image, *, scale):
        return self.body(image * scale[:, None])


def test_dicts(tmp_path, model, x):
    data = [{"image": x[:20], "label": torch.arange(20), "name": [f"n{i}" for i in range(20)]}]
    run = actlens.record(model, data, tmp_path / "one", layers=LAYERS, inputs="image")
    check(run, model, x[:20])
    assert list(run.columns) == ["id", "label", "name"]
    run = actlens.record(model, data, tmp_path / "some", layers=LAYERS, inputs="image", columns="name")
    assert list(run.columns) == ["id", "name"]
    data = [{"image": x, "scale": torch.arange(50), "id": torch.arange(50) * 2}]
    run = actlens.record(TwoInputs(), data, tmp_path / "by name", layers="body", inputs=["image", "scale"])
    assert (run["body"][:] == (x * torch.arange(50)[:, None]).numpy()).all()
    assert run.ids.tolist() == list(range(0, 100, 2))


def test_tuples_with_two_inputs(tmp_path, x):
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.difference = nn.Identity()

        def forward(self, a, b):
            return self.difference(a - b)

    run = actlens.record(
        Siamese(), [(x, x / 2, torch.zeros(50))], tmp_path / "r", layers="*", inputs=2, columns=["same"]
    )
    assert (run["difference"][:] == (x - x / 2).numpy()).all()


def test_the_model_is_left_as_it_was(tmp_path, model, x):
    model.train()
    model[4].eval()  # a mixture of modes, as in fine-tuning
    before = {key: value.clone() for key, value in model.state_dict().items()}
    run = actlens.record(model, batches(x), tmp_path / "r", layers=LAYERS)
    check(run, model, x)  # recorded in eval mode
    assert [module.training for module in model] == [True, True, True, True, False]
    assert all((before[key] == value).all() for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()
    model(x).sum().backward()  # and can be trained on


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_model_and_disk_in_order(tmp_path, model, x, error):
    def until_the_end():
        yield from (x[i : i + 10] for i in range(0, 40, 10))
        raise error

    model.train()
    with pytest.raises(error):
        actlens.record(model, until_the_end(), tmp_path / "r", layers=LAYERS, shard_bytes=1000)
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    run = actlens.open(tmp_path / "r", verify="all")
    assert 0 < run.rows < 40
    check(run, model, x[: run.rows])
    run = actlens.record(model, batches(x, 10), tmp_path / "r", layers=LAYERS, shard_bytes=1000, resume=True)
    check(run, model, x)


def test_resume_does_not_compute_again_what_is_there(tmp_path, model, x):
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    actlens.record(model, batches(x[:32]), tmp_path / "r", layers=LAYERS)
    assert len(calls) == 2
    run = actlens.record(model, batches(x), tmp_path / "r", layers=LAYERS, resume=True)
    assert len(calls) == 4
    check(run, model, x)


def test_the_same_samples_at_every_step(tmp_path, model, x):
    ids = torch.arange(100, 150)
    kept = []
    with actlens.Recorder(tmp_path / "r", sample=0.3, seed=5) as rec:
        for step in range(3):
            order = torch.randperm(
                50, generator=torch.Generator().manual_seed(step)
            )  # a loader that shuffles
            assert (
                actlens.record(
                    model, batches(x[order], id=ids[order]), rec, layers=LAYERS, columns=["id"], step=step
                )
                is rec
            )
            with torch.no_grad():
                model[0].weight += 1
    run = actlens.open(tmp_path / "r")
    for step in range(3):
        some = run.sel(step=step)
        kept.append(set(some.ids.tolist()))
        weight = model[0].weight.detach() - (3 - step)
        first = x.numpy()[some.ids - 100] @ weight.numpy().T + model[0].bias.detach().numpy()
        np.testing.assert_allclose(some["0"][:], first, rtol=1e-4, atol=1e-5)
    assert kept[0] == kept[1] == kept[2]
    assert 5 < len(kept[0]) < 28


def test_batches_without_a_kept_sample_are_not_computed(tmp_path, model, x):
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    run = actlens.record(model, batches(x, 10), tmp_path / "r", layers=LAYERS, sample=[3, 44])
    assert len(calls) == 2
    check(run, model, x[[3, 44]], ids=[3, 44])


def test_dtype_and_pooling(tmp_path):
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 3, 3))
    x = torch.randn(6, 1, 8, 8)
    run = actlens.record(conv, [x], tmp_path / "r", layers={"0": "b c h w -> b c"}, dtype="bfloat16")
    assert run["0"].axes == ("sample", "channel")
    assert run["0"].dtype.name == "bfloat16"
    full = conv(x).detach().numpy().mean((2, 3))
    np.testing.assert_allclose(run["0"][:].astype("f4"), full, rtol=1e-2, atol=1e-3)
    assert run.info["layers"] == {"0": "b c h w -> b c"}


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 5)

    def forward(self, x):
        return self.rnn(x.transpose(0, 1))[0]


def test_rows_that_are_not_samples_are_refused(tmp_path, x):
    sequences = torch.randn(6, 6, 4)  # as long as the batch: the shapes alone do not tell
    with pytest.raises(
        RowsError, match=r"layer 'rnn\[0\]' has the axes .time, sample, unit., and rows .samples. must"
    ):
        actlens.record(TimeFirst(), [sequences], tmp_path / "r", layers="rnn[0]")
    with pytest.raises(RowsError, match=r"the batch has 6 samples, and layers have: rnn\[1\]\[0\] 1"):
        actlens.record(TimeFirst(), [sequences], tmp_path / "r", layers="rnn[1]")
    assert not os.listdir(tmp_path)
    run = actlens.record(TimeFirst(), [sequences], tmp_path / "r", layers={"rnn[0]": "t b d -> b t d"})
    assert run["rnn[0]"].axes == ("sample", "time", "unit")


class Sometimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.never, self.nothing = nn.Linear(4, 4), nn.Linear(4, 4), Nothing()

    def forward(self, x):
        self.nothing(x)
        return self.always(x)


class Nothing(nn.Module):
    def forward(self, x):
        return None


BAD = [
    ({"batches": 3}, BatchError, "batches is a int, which is not an iterable of batches"),
    ({"batches": "data"}, BatchError, "batches is a str, which is not an iterable"),
    (
        {"batches": [3]},
        BatchError,
        "cannot tell how many samples a batch holds: its input is a int without a shape",
    ),
    (
        {"batches": [{"x": 1, "y": 2}]},
        BatchError,
        r"a batch is a dict .x, y.: say what of it goes to the model",
    ),
    ({"batches": [{"x": 1}], "inputs": 2}, BatchError, "inputs= is 2; for dict batches it is a key"),
    ({"batches": [{"x": 1}], "inputs": "z"}, ColumnError, "the batch has no z. Its keys: x"),
    (
        {"batches": [{"x": 1}], "inputs": "x", "columns": ["z"]},
        ColumnError,
        "the batch has no z. Its keys: x",
    ),
    ({"inputs": "x"}, BatchError, "inputs= is 'x'; for dict batches it is a key .* for tuples the number"),
    ({"inputs": 3}, BatchError, "inputs= is 3"),
    (
        {"columns": ["a", "b"]},
        ColumnError,
        r"a batch has 1 items beside the model's input, and columns= names 2 .a, b.",
    ),
    (
        {"layers": "blocks.*"},
        NoLayerMatches,
        "no layer of Sometimes matches 'blocks.*'. Its layers: always, never",
    ),
    (
        {"layers": "never"},
        LayerNeverFired,
        "selected layers of Sometimes were never called in this forward: never",
    ),
    ({"layers": "nothing"}, EmptyCapture, "the capture of Sometimes is empty: .* .nothing: NoneType."),
    (
        {"layers": ["always", "nothing"]},
        NoLayerMatches,
        "'nothing' matches a layer, but none of what it gave: nothing",
    ),
    (
        {"layers": "always[0]"},
        NoLayerMatches,
        r"'always\[0\]' matches a layer, but none of what it gave: always",
    ),
    ({"model": nn.Linear(4, 4), "layers": "**"}, NoLayerMatches, "Linear has no layers inside it"),
    ({"model": 3}, UnsupportedModel, "no adapter for a builtins.int"),
    ({"budget": "lots"}, InputError, "budget= is 'lots'; it takes a number of bytes or a text such as '2GB'"),
    ({"budget": 0}, InputError, "budget= is 0"),
    ({"budget": "5 parsecs"}, InputError, "budget= is '5 parsecs'"),
    (
        {"dtypes": "float16"},
        ArgumentError,
        r"record.. does not take dtypes. Options for the recording: durability",
    ),
    (
        {"budget": "300 B"},
        BudgetExceeded,
        "needs about 1.17 KiB .24 B a row., and budget= allows 300 B. What would fit",
    ),
    ({"columns": ["id"], "batches": "same ids"}, IdError, "id 0 stands twice in this recording"),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD)
def test_bad_input_is_named_and_leaves_nothing(tmp_path, x, change, error, text):
    same = [(x, torch.zeros(50, dtype=torch.long))]
    given = {"model": Sometimes(), "batches": same, "layers": "always"} | change
    if change.get("batches") == "same ids":
        given["batches"] = same
    with pytest.raises(error, match=text):
        actlens.record(given.pop("model"), given.pop("batches"), tmp_path / "deep" / "r", **given)
    assert not os.listdir(tmp_path)


def test_options_of_a_recorder_do_not_go_with_an_open_one(tmp_path, model, x):
    with actlens.Recorder(tmp_path / "r") as rec:
        with pytest.raises(
            ArgumentError, match="sample, shard_bytes were decided when the Recorder was opened"
        ):
            actlens.record(model, [x], rec, layers=LAYERS, sample=0.5, shard_bytes=3)
        actlens.record(model, [x], rec, layers=LAYERS)


def test_budget_names_a_fraction_that_fits(tmp_path, model, x):
    data = [x[:25], x[25:]]
    with pytest.raises(
        BudgetExceeded, match=r"needs about 2.54 KiB .52 B a row., .*What would fit: sample=(0\.\d+);"
    ) as info:
        actlens.record(model, data, tmp_path / "r", layers=LAYERS, budget="1 KB")
    fraction = float(str(info.value).split("sample=")[1].split(";")[0])
    assert 0.3 < fraction < 0.4
    run = actlens.record(model, data, tmp_path / "r", layers=LAYERS, budget="1 KB", sample=fraction)
    assert run.rows < 35


def test_budget_of_an_iterable_of_unknown_length(tmp_path, model, x):
    with pytest.raises(
        BudgetExceeded, match="the budget of 1 KiB is used up after 32 rows. They are committed"
    ):
        actlens.record(model, batches(x), tmp_path / "r", layers=LAYERS, budget=1024)
    assert actlens.open(tmp_path / "r").rows == 32


def test_the_free_disk_is_a_budget_too(tmp_path, model, x, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BudgetExceeded, match="100 B are free on the disk"):
        actlens.record(model, [x], tmp_path / "r", layers=LAYERS)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("2 gib", 2 << 30), (".5kB", 500), ("17", 17), (17, 17), ("1.5TiB", 3 << 39)],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


def test_progress_is_shown_in_a_terminal_only(tmp_path, model, x, capsys, monkeypatch):
    actlens.record(model, [x], tmp_path / "quiet", layers=LAYERS)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    actlens.record(model, [x[:20], x[20:]], tmp_path / "loud", layers=LAYERS)
    shown = capsys.readouterr().err
    assert "loud" in shown
    assert "samples" in shown


def test_a_layer_whose_shape_changes_between_batches(tmp_path):
    with pytest.raises(
        actlens.ActlensError, match=r"a row of layer '0' was F32 of shape .5, 4. .* of shape .7, 4. now"
    ):
        actlens.record(
            nn.Sequential(nn.Linear(4, 4)),
            [torch.zeros(2, 5, 4), torch.zeros(2, 7, 4)],
            tmp_path / "r",
            layers="0",
        )


def test_resume_refuses_another_model_and_other_layers(tmp_path, model, x):
    actlens.record(model, [x[:20]], tmp_path / "r", layers=LAYERS)
    with pytest.raises(actlens.ActlensError, match=r"layers\['4'\]= was None .* is 'absent' now"):
        actlens.record(model, [x], tmp_path / "r", layers=["0", "*", "!1", "!2", "!3"], resume=True)

    class Other(nn.Sequential):
        pass

    with pytest.raises(actlens.ActlensError, match="model= was 'Sequential' .* is 'Other' now"):
        actlens.record(Other(*model), [x], tmp_path / "r", layers=LAYERS, resume=True)
    check(actlens.record(model, [x], tmp_path / "r", layers=LAYERS, resume=True), model, x)


def test_a_budget_counts_the_rows_of_earlier_attempts(tmp_path):
    model = nn.Sequential(nn.Linear(100, 100))
    batches = [(torch.rand(10, 100), list(range(10 * i, 10 * i + 10))) for i in range(6)]
    options = {"layers": "0", "columns": ["id"], "budget": 13_000}
    actlens.record(model, iter(batches[:3]), tmp_path / "r", **options)
    with pytest.raises(BudgetExceeded, match="is used up after 40 rows"):
        actlens.record(model, iter(batches), tmp_path / "r", **options, resume=True)


def test_a_recorder_goes_on_after_a_bad_batch_without_losing_a_good_one(tmp_path, model, x):
    with actlens.Recorder(tmp_path / "r") as rec:
        with pytest.raises(BatchError, match="cannot tell how many samples"):
            actlens.record(model, [x[:10], x[10:20], "nonsense"], rec, layers=LAYERS)
        assert rec.rows == 20
        with pytest.raises(BudgetExceeded, match="budget= allows 30 B"):
            actlens.record(model, [x[20:]], rec, layers=LAYERS, budget="30 B")
        actlens.record(model, [x[20:]], rec, layers=LAYERS)
    check(actlens.open(tmp_path / "r"), model, x)


def test_a_first_item_that_holds_several_arrays(tmp_path):
    """What Keras calls a batch: ({"a": …, "b": …}, label)."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 2)

        def forward(self, given):
            return self.fc(given["a"] + given["b"][0])

    x = torch.randn(6, 4)
    batches = [({"a": x[at : at + 3], "b": [x[at : at + 3]]}, np.arange(at, at + 3)) for at in (0, 3)]
    model = Two()
    run = actlens.record(model, batches, tmp_path / "run", layers="fc", columns=["id"])
    np.testing.assert_allclose(run["fc"][:], model.fc(2 * x).detach().numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(BatchError, match="dict"):
        actlens.record(model, [({}, np.arange(3))], tmp_path / "none", layers="fc", columns=["id"])


def test_an_open_recorder_goes_on_after_a_batch_that_does_not_fit(tmp_path):
    net = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(net[0].weight)
    x = torch.ones(6, 1)
    x[0] = 1e6
    with Recorder(tmp_path / "r", dtype="float16") as rec:
        for value in (1e6, 1.0):
            x[0] = value
            batches = [(x[at : at + 2], torch.arange(at, at + 2)) for at in (0, 2, 4)]
            with contextlib.suppress(RecordingError):
                actlens.record(net, batches, rec, layers="0", columns=["id"])
    assert actlens.open(tmp_path / "r").ids.tolist() == list(range(6))
