"""The contract of `layers`: names, shapes, and that nothing is changed."""

from __future__ import annotations

from actlens.testing.models import SAMPLES, Models


class ListingTests(Models):
    """layers()."""

    # ------------------------------------------------------------------ layers

    def test_layers_without_an_example(self) -> None:
        """Names and types, where the framework knows them before a call; no shapes are invented."""
        infos = self.backend.layers(self.mlp(self.weights()))
        assert list(infos) in (["first", "act", "last"], [])
        assert all(info.type for info in infos.values())

    def test_layers_with_an_example(self) -> None:
        """Keys as in a capture, in the order of the forward, with shape, dtype and axes."""
        model = self.mlp(self.weights())
        before = self.state(model)
        infos = self.backend.layers(model, self.array(self.x()))
        assert [(key, info.shape, info.dtype) for key, info in infos.items()] == [
            ("first", (SAMPLES, 8), "float32"),
            ("act", (SAMPLES, 8), "float32"),
            ("last", (SAMPLES, 3), "float32"),
        ]
        assert infos["first"].axes == ("sample", "unit")
        assert self.state(model) == before

    def test_layers_agrees_with_capture(self) -> None:
        """The dry run gives the keys and shapes that a capture gives."""
        for model in (self.shared(self.weights()), self.structured(self.weights())):
            infos = self.backend.layers(model, self.array(self.x()))
            _, acts = self.capture(model, "**")(self.array(self.x()))
            assert {key: info.shape for key, info in infos.items()} == {
                key: tuple(array.shape) for key, array in acts.items()
            }
