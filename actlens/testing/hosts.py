"""The contract of `inference` and `fetch`: modes, and bytes on the host."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from actlens.testing.models import Array, Models


class HostTests(Models):
    """inference() and fetch()."""

    # ------------------------------------------------------------------ inference

    def test_inference_is_eval_and_is_undone(self) -> None:
        """Dropout is off inside, numpy inputs are taken, and every mode is as before afterwards."""
        model = self.dropout(self.weights())
        before = self.state(model)
        with self.backend.inference(model, self.capture(model, ["first", "last"])) as forward:
            _, acts = forward(self.x())
            self.same(acts["first"], self.expected()["first"])
            self.same(acts["last"], self.expected()["last"])
        assert self.state(model) == before

    def test_inference_is_undone_after_an_error(self) -> None:
        """An error in the block leaves the modes as they were."""
        model = self.dropout(self.weights())
        before = self.state(model)
        with pytest.raises(ZeroDivisionError):  # noqa: SIM117 - the context under test is the inner one
            with self.backend.inference(model, self.capture(model, "first")):
                raise ZeroDivisionError
        assert self.state(model) == before

    def test_inference_then_fetch(self) -> None:
        """What record() does: forward, fetch, next batch; earlier rows stay what they were."""
        model = self.mlp(self.weights())
        with self.backend.inference(model, self.capture(model, "*")) as forward:
            waits = [self.backend.fetch(forward(self.x() * scale)[1]) for scale in (1, 2, 3)]
            forward(self.x() * 4)
        got = waits[0]()
        for key, expected in self.expected().items():
            np.testing.assert_allclose(got[key], expected, rtol=self.tolerance, atol=self.tolerance)

    # ------------------------------------------------------------------ weights, where the adapter has it

    def test_weights_tell_two_states_of_a_model_apart(self) -> None:
        """The same for the same numbers, others when one layer has changed; few values, whatever the size."""
        if not hasattr(self.backend, "weights"):
            pytest.skip("this adapter does not give weights")
        given = self.weights()
        one, same = (self._sampled(self.mlp(given)) for _ in range(2))
        other = self._sampled(self.mlp({**given, "w2": given["w2"] + 1}))
        assert one == same != other
        assert one

    def _sampled(self, model: object) -> list[bytes]:
        samples = self.backend.weights(model)  # type: ignore[attr-defined]
        assert all(isinstance(sample, np.ndarray) and sample.size <= 64 for sample in samples)
        return [sample.tobytes() for sample in samples]

    # ------------------------------------------------------------------ fetch

    def values(self, dtype: str) -> Array:
        """Give (5, 3, 2) values of a dtype, all different where it can."""
        values = np.arange(30).reshape(5, 3, 2) % (2 if dtype == "bool" else 16)
        return values.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))

    def test_fetch_keeps_the_dtype(self) -> None:
        """Every dtype of the framework arrives as itself, C-contiguous."""
        for dtype in self.dtypes:
            values = self.values(dtype)
            got = self.backend.fetch({"a": self.array(values)})()["a"]
            assert isinstance(got, np.ndarray)
            assert got.dtype == values.dtype
            assert got.flags.c_contiguous
            assert got.tobytes() == values.tobytes()

    def test_fetch_of_rows(self) -> None:
        """Rows come in the order asked for, repeated ones too, none if none."""
        for dtype in self.dtypes:
            values = self.values(dtype)
            for rows in ([3, 0, 4], [1, 1, 0], [], [0, 1, 2, 3, 4]):
                index = np.asarray(rows, dtype=np.int64)
                got = self.backend.fetch({"a": self.array(values)}, rows=index)()["a"]
                assert got.shape == (len(rows), 3, 2)
                assert got.flags.c_contiguous
                assert got.tobytes() == values[index].tobytes()

    def test_fetch_owns_its_memory(self) -> None:
        """Writing into the source afterwards changes nothing, nor does writing into the result."""
        for rows in (None, np.arange(5)):
            source = self.array(self.values("float32"))
            got = self.backend.fetch({"a": source}, rows=rows)()["a"]
            got[0] = 7
            assert self.numpy(source).tobytes() == self.values("float32").tobytes()
            self.overwrite(source)
            assert got[1:].tobytes() == self.values("float32")[1:].tobytes()

    def test_fetch_of_many(self) -> None:
        """Keys keep their order, and scalars and empty arrays pass."""
        arrays = {"b": np.full((), 3, np.float32), "a": np.zeros((0, 4), np.float32), "c": self.x()}
        got = self.backend.fetch({key: self.array(value) for key, value in arrays.items()})()
        assert list(got) == ["b", "a", "c"]
        for key, value in arrays.items():
            np.testing.assert_array_equal(got[key], value)
        assert self.backend.fetch({})() == {}
