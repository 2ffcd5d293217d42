"""Records tensors of TensorFlow, for tests/test_round_trip.py: `round_trip_tensorflow.py FOLDER IDS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from round_trip_arrays import CODES, record, values

from actlens.errors import RowsError

LAYOUTS = {
    "constant": lambda t: t,
    "identity": tf.identity,
    "variable": tf.Variable,
    "transposed": lambda t: tf.transpose(t, [2, 0, 1]),
    "strided": lambda t: t[:, ::2],
    "broadcast": lambda t: tf.broadcast_to(t[:1], t.shape),
    "scalar rows": lambda t: t[:, 3, 1],
    "empty": lambda t: t[:, 0, :0],
}
NO_PLACE = {
    "complex128": lambda: tf.zeros((2, 3), tf.complex128),
    "qint8": lambda: tf.bitcast(tf.zeros((2, 3), tf.int8), tf.qint8),
    "string": lambda: tf.constant([["a", "b"]]),
    "int4": lambda: tf.constant(np.zeros((2, 3), tf.dtypes.experimental.int4.as_numpy_dtype)),
}


def made(layout):
    """The tensors of one layout, of all types of which TensorFlow can make them."""
    tensors = {}
    for code in CODES:
        try:
            tensors[code] = LAYOUTS[layout](tf.constant(values(code)))
        except (
            ValueError,
            tf.errors.NotFoundError,
            tf.errors.InvalidArgumentError,
        ):  # no such type, or kernel
            continue
    return tensors


def refusal(path, tensor):
    try:
        record(path, {"a": tensor})
    except RowsError as error:
        return str(error)
    return None


def main(folder, some):
    said = {"made": {}, "refused": {}}
    for layout in LAYOUTS:
        tensors = made(layout)
        said["made"][layout] = list(tensors)
        record(folder / f"{layout}, all", tensors)
        record(folder / f"{layout}, some", tensors, sample=some)
    said["refused"] = {name: refusal(folder / name, make()) for name, make in NO_PLACE.items()}
    (folder / "said.json").write_text(json.dumps(said))


main(Path(sys.argv[1]), json.loads(sys.argv[2]))
