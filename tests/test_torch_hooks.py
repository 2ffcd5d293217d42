"""What fires is taken, as it was, once, and nothing is left behind."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import actlens
import actlens_torch
from actlens.errors import BadTransform, LayerNeverFired, UncapturableValue
from actlens.turns import Switch
from actlens_torch._threads import turn_of


def mlp(inplace=False):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 3))


@pytest.fixture
def x():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def hook_count(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("grad", [True, False])
def test_in_place_relu_does_not_change_what_was_captured(x, grad):
    model = mlp(inplace=True)
    with torch.set_grad_enabled(grad):
        _, acts = actlens.capture(model, "**")(x)
        assert torch.equal(acts["0"], model[0](x))
        assert (acts["0"] < 0).any()
        assert torch.equal(acts["1"], model[0](x).relu())


def test_a_view_of_an_input_is_taken_by_value(x):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Flatten()

        def forward(self, x):
            x = x.clone()
            flat = self.flat(x)
            x.zero_()
            return flat

    _, acts = actlens.capture(Model(), ["flat", "flat@input"])(x)
    assert torch.equal(acts["flat"], x)
    assert torch.equal(acts["flat@input"], x)


def test_gradients_are_those_of_a_plain_call(x):
    plain, model = mlp(inplace=True), mlp(inplace=True)
    plain(x).sum().backward()
    output, acts = actlens.capture(model, {"0": "b c -> b", "2": None})(x)
    output.sum().backward()
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert acts["0"].grad_fn is not None


def test_activations_can_be_trained_on(x):
    model = mlp(inplace=True)
    _, acts = actlens.capture(model, {"0": "b c -> b"})(x)
    acts["0"].sum().backward()
    expected = torch.autograd.grad(model[0](x).mean(1).sum(), model[0].weight)[0]
    assert torch.allclose(model[0].weight.grad, expected)
    assert model[2].weight.grad is None


def test_a_slice_does_not_keep_the_whole(x):
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            _, acts = actlens.capture(mlp(), {"0": lambda t: t[:, 0]})(x)
        assert acts["0"].untyped_storage().nbytes() == 5 * 4


def test_a_transform_that_makes_a_new_tensor_is_not_copied_again(x):
    made = []

    def pool(t):
        made.append(t.mean(1))
        return made[-1]

    with torch.no_grad():
        _, acts = actlens.capture(mlp(), {"0": pool})(x)
    assert acts["0"] is made[0]


def test_a_transform_in_place_is_refused(x):
    with torch.no_grad(), pytest.raises(BadTransform, match="changed the activation in place"):
        actlens.capture(mlp(), {"0": lambda t: t.mul_(2)})(x)


@pytest.mark.parametrize("transform", [torch.relu_, lambda t: t.data.relu_(), lambda t: t[:, :1].zero_()])
def test_a_transform_in_place_in_inference_mode_gets_a_copy(x, transform):
    model = mlp()
    with torch.inference_mode():
        expected, inner = model(x), model[0](x)
        output, acts = actlens.capture(model, {"0": transform, "1": None})(x)
        assert torch.equal(output, expected)
        assert torch.equal(acts["0"], transform(inner.clone()))
        assert torch.equal(acts["1"], inner.relu())


def test_a_layer_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(x))

    model, x = Twice(), torch.randn(2, 4)
    _, acts = actlens.capture(model, ["fc", "fc@input"])(x)
    assert list(acts) == ["fc@input", "fc", "fc:2@input", "fc:2"]
    assert torch.equal(acts["fc:2@input"], acts["fc"])
    assert torch.equal(acts["fc:2"], model.fc(model.fc(x)))


def test_nothing_is_left_after_an_exception(x):
    class Boom(nn.Module):
        def forward(self, x):
            raise ValueError("boom")

    model = nn.Sequential(nn.Linear(4, 4), Boom())
    with pytest.raises(ValueError, match="boom"):
        actlens.capture(model, ["**", "**@input"])(x)
    assert hook_count(model) == 0


def test_nothing_is_left_when_a_hook_cannot_be_registered(x, monkeypatch):
    model = mlp()

    def refuse(*args, **kwargs):
        raise RuntimeError("no hooks here")

    monkeypatch.setattr(model[2], "register_forward_hook", refuse)
    with pytest.raises(RuntimeError, match="no hooks here"):
        actlens.capture(model, "**")(x)
    assert hook_count(model) == 0


def test_hooks_of_the_user_run_first_and_stay(x):
    model = mlp()
    handle = model[0].register_forward_hook(lambda module, args, output: output * 0 + 7)
    before = model[2].register_forward_pre_hook(lambda module, args: (args[0] * 0 + 1,))
    _, acts = actlens.capture(model, ["0", "2@input"])(x)
    assert (acts["0"] == 7).all()
    assert (acts["2@input"] == 1).all()
    assert hook_count(model) == 2
    handle.remove()
    before.remove()


def test_a_layer_that_is_bypassed_is_reported(x):
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.direct = nn.Linear(4, 4)
            self.weights = nn.Linear(4, 4)
            self.used = nn.Linear(4, 4)

        def forward(self, x):
            x = self.direct.forward(x)
            return self.used(nn.functional.linear(x, self.weights.weight))

    model = Bypass()
    assert list(actlens.capture(model, "used")(x)[1]) == ["used"]
    for name in ("direct", "weights"):
        with pytest.raises(LayerNeverFired, match=f"never called in this forward: {name}"):
            actlens.capture(model, name)(x)
    infos = actlens.layers(model, x)
    assert list(infos) == ["used", "direct", "weights"]
    assert "never called: the model may use its weights, or call .forward()" in infos["direct"].note


@pytest.mark.filterwarnings("ignore:.*None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("transform", [None, "b c -> b", lambda t: t.sigmoid().mean(1)])
def test_checkpointing(reentrant, transform):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(inplace=True))
            self.head = nn.Linear(4, 2)
            self.used = True

        def forward(self, x):
            x = checkpoint(self.block, x, use_reentrant=reentrant) if self.used else self.block(x)
            return self.head(x)

    model, plain = Model(), Model()
    plain.used = False
    x = torch.randn(3, 4, requires_grad=True)
    forward = actlens.capture(model, dict.fromkeys(["block.*", "head"], transform))
    output, acts = forward(x)
    output.sum().backward()
    assert set(forward.report.calls.values()) == {1}
    assert len(acts) == 5
    _, expected = actlens.capture(plain, dict.fromkeys(["block.*", "head"], transform))(x)
    for key, value in expected.items():
        assert torch.equal(acts[key], value)
    plain_x = x.detach().clone().requires_grad_()
    plain(plain_x).sum().backward()
    assert torch.equal(x.grad, plain_x.grad)
    assert torch.equal(model.block[0].weight.grad, plain.block[0].weight.grad)


def test_gradients_inside_a_checkpoint_reach_the_activations():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return checkpoint(self.fc, x, use_reentrant=False)

    model, x = Model(), torch.randn(3, 4)
    _, acts = actlens.capture(model, {"fc": lambda t: t.sigmoid()})(x)
    acts["fc"].sum().backward()
    expected = torch.autograd.grad(model.fc(x).sigmoid().sum(), model.fc.weight)[0]
    assert torch.allclose(model.fc.weight.grad, expected)


def test_recomputation_during_the_forward_does_not_fire():
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 1)

        def forward(self, x):
            energy = checkpoint(self.fc, x, use_reentrant=False).sum()
            return torch.autograd.grad(energy, x)[0]

    forward = actlens.capture(Energy(), "fc")
    forward(torch.randn(3, 4, requires_grad=True))
    assert forward.report.calls == {"fc": 1}


def test_without_the_private_word_of_backward(x, monkeypatch):
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    assert torch.equal(actlens.capture(mlp(), "0")(x)[1]["0"], mlp()[0](x))


def test_other_threads_are_not_heard(x):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            thread = threading.Thread(target=self.fc, args=(x * 0,))
            thread.start()
            thread.join()
            return self.fc(x)

    forward = actlens.capture(Model(), "fc@input")
    _, acts = forward(x)
    assert forward.report.calls == {"fc@input": 1}
    assert torch.equal(acts["fc@input"], x)


def test_vmap_is_refused_and_grad_is_not(x):
    model = mlp()
    forward = actlens.capture(model, "0")
    with pytest.raises(UncapturableValue, match="a tensor inside torch.vmap"):
        torch.func.vmap(forward)(x)
    with pytest.raises(UncapturableValue, match="a tensor inside torch.vmap"):
        torch.func.vmap(torch.func.grad(lambda row: forward(row)[0].sum()))(x)

    def loss(inputs):
        output, acts = forward(inputs)
        return output.sum(), acts

    gradient, acts = torch.func.grad(loss, has_aux=True)(x)
    assert torch.equal(acts["0"], model[0](x))
    assert acts.axes == {"0": ("sample", "unit")}
    assert gradient.shape == x.shape


def test_activations_are_a_pytree(x):
    import torch.utils._pytree as pytree

    _, acts = actlens.capture(mlp(), "**")(x)
    doubled = pytree.tree_map(lambda t: t * 2, acts)
    assert type(doubled) is type(acts)
    assert torch.equal(doubled["2"], acts["2"] * 2)
    assert doubled.axes == acts.axes
    assert doubled.report is acts.report
    _, again = actlens.capture(mlp(), "**")(x)
    assert pytree.tree_structure(acts) == pytree.tree_structure(again)
    actlens_torch._pytree.register()  # a second time is no error


def test_a_layer_that_is_replaced_later_is_heard(x):
    model = mlp()
    forward = actlens.capture(model, "**")
    forward(x)
    model[2] = nn.Linear(8, 7)
    model.append(nn.Identity())
    _, acts = forward(x)
    assert acts["2"].shape == (5, 7)
    assert "3" in acts


def test_memory_does_not_grow(x):
    import gc
    import weakref

    model = mlp()
    forward = actlens.capture(model, "**")
    gc.collect()
    gc.disable()  # no cycles: everything goes when the last name goes
    try:
        output, acts = forward(x)
        gone = [weakref.ref(t) for t in [output, *acts.values()]]
        del output, acts
        assert not any(ref() is not None for ref in gone)
    finally:
        gc.enable()


def test_kwargs_only_calls():
    class Inner(nn.Module):
        def forward(self, hidden_states=None, scale=2.0, mask=None):
            return hidden_states * scale

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(hidden_states=x, mask=(x, None))

    x = torch.randn(2, 3)
    forward = actlens.capture(Model(), ["inner", "inner@input"])
    _, acts = forward(x)
    assert list(acts) == ["inner@input[hidden_states]", "inner@input[mask][0]", "inner"]
    assert forward.report.skipped == {"inner@input[mask][1]": "NoneType"}


def test_several_positional_arguments():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.Bilinear(2, 3, 4)

        def forward(self, x, y):
            return self.both(x, y)

    x, y = torch.randn(5, 2), torch.randn(5, 3)
    _, acts = actlens.capture(Model(), "both@input[1]")(x, y)
    assert list(acts) == ["both@input[1]"]
    assert torch.equal(acts["both@input[1]"], y)


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


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_forwards_of_one_model_in_many_threads():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
    compiled = torch.compile(model)  # its layers are the same ones

    def job(number):
        forward = actlens.capture(compiled if number % 2 else model, "*")

        def run():
            x = torch.full((2, 4), float(number))
            return [(x, forward(x)[1]) for _ in range(20)]

        return run

    for result in in_threads(*map(job, range(4))):
        for x, acts in result:
            assert torch.equal(acts["0"], model[0](x))
            assert len(acts) == 20
    assert hook_count(model) == 0


def test_the_fast_path_is_on_again_after_overlapping_forwards():
    """The first to begin ends first, while the second is still in its forward."""
    inside, ended = threading.Barrier(2, timeout=20), threading.Event()

    class Waits(nn.Module):
        def __init__(self, wait):
            super().__init__()
            self.layer, self.wait = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), wait

        def forward(self, x):
            inside.wait()
            self.wait()
            assert not torch.backends.mha.get_fastpath_enabled()
            return self.layer(x)

    models = [Waits(lambda: None).eval(), Waits(lambda: ended.wait(20)).eval()]
    first, second = (actlens.capture(model, "layer.linear1") for model in models)

    def run_first():
        result = first(torch.rand(2, 3, 8))
        ended.set()
        return result

    results = in_threads(run_first, lambda: second(torch.rand(2, 3, 8)))
    assert [list(acts) for _, acts in results] == [["layer.linear1"]] * 2
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_lock_of_a_model():
    model = nn.Linear(1, 1)
    lock = turn_of(model)
    assert turn_of(nn.DataParallel(model)) is turn_of(torch.compile(model)) is lock
    assert turn_of(nn.Linear(1, 1)) is not lock


def test_a_switch_that_fails_is_not_over():
    state = []

    def put():
        if not state:
            state.append(1)
            raise RuntimeError("not now")
        return "was"

    switch = Switch(put, state.append)
    with pytest.raises(RuntimeError, match="not now"):
        with switch.over():
            pass
    with switch.over() as outer, switch.over() as inner:
        assert outer == inner == "was"
        assert state == [1]
    assert state == [1, "was"]


class Parts(nn.Module):
    """Calls a layer twice in another thread."""

    def __init__(self, *, here):
        super().__init__()
        self.a, self.b, self.here = nn.Linear(4, 4), nn.Linear(4, 4), here

    def forward(self, x):
        results = in_threads(lambda: self.a(x), lambda: self.a(x))
        y = self.a(x) if self.here else x
        return self.b(y) + sum(results)


@pytest.mark.parametrize("stop", [False, True])
def test_calls_from_another_thread_are_reported(x, stop):
    forward = actlens.capture(Parts(here=True), ["*", "a@input"], stop=stop)
    for _ in range(2):
        _, acts = forward(x)
        assert list(acts) == ["a@input", "a", "b"]
        notes = [note for note in forward.report.notes if "thread" in note]
        assert len(notes) == 2
        assert "a: 2 calls from another thread not captured; call it in the thread of the forward" in notes
    with pytest.raises(LayerNeverFired, match="a .2 calls from another thread not captured"):
        actlens.capture(Parts(here=False), "*")(x)


def test_layers_renamed_between_calls():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    forward = actlens.capture(model, "*")
    forward(torch.ones(1, 4))
    first, last = model._modules.values()
    model._modules.clear()
    model._modules.update(x=first, y=last)
    assert list(forward(torch.ones(1, 4))[1]) == ["x", "y"]
