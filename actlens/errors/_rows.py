"""Errors of rows: arrays, ids and columns that are handed to a Recorder, and batches to record()."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actlens.errors._base import InputError, listed


class RowsError(InputError):
    """Arrays that are not one batch of rows."""

    @classmethod
    def not_activations(cls, given: object) -> RowsError:
        """`write(array)`."""
        return cls(
            f"write() got a {type(given).__name__}; it takes a dict layer → array with the rows first, "
            "such as forward(x) returns beside the output."
        )

    @classmethod
    def bad_key(cls, key: object) -> RowsError:
        """A layer name that cannot be stored."""
        return cls(
            f"{key!r} cannot be the name of a layer or column: names are text of 1 to 900 bytes in UTF-8, without NUL."
        )

    @classmethod
    def not_an_array(cls, key: str, given: object) -> RowsError:
        """A layer's value that is not an array of rows."""
        return cls(
            f"layer {key!r} is a {type(given).__name__}; it takes an array with at least one axis, the rows "
            "(numpy, or the framework's own)."
        )

    @classmethod
    def masked(cls, key: str) -> RowsError:
        """A numpy masked array: what is under the mask would become data."""
        return cls(
            f"layer {key!r} is a masked array, and a recording has no mask: fill it (array.filled(0)), or write NaN."
        )

    @classmethod
    def bad_dtype(cls, key: str, dtype: object, allowed: Iterable[str]) -> RowsError:
        """A dtype that has no place in the format."""
        return cls(
            f"layer {key!r} has dtype {dtype}, which cannot be stored. Stored are: {', '.join(allowed)}."
        )

    @classmethod
    def unequal(cls, rows: Mapping[str, int]) -> RowsError:
        """Layers of one batch with different numbers of rows."""
        return cls(
            f"the layers of one batch have different numbers of rows: {_counts(rows)}. Rows (samples) come first: "
            "rearrange a layer that has another axis first, e.g. layers={'rnn': 't b d -> b t d'}, or leave it out."
        )

    @classmethod
    def not_the_batch(cls, rows: Mapping[str, int], batch: int) -> RowsError:
        """Layers whose first axis is not the batch."""
        return cls(
            f"the batch has {batch} samples, and layers have: {_counts(rows)} rows. Rows (samples) come first: "
            "rearrange a layer that has another axis first, e.g. layers={'rnn': 't b d -> b t d'}, or leave it out."
        )

    @classmethod
    def too_many_layers(cls, names: int, size: int, limit: int) -> RowsError:
        """More than the header of a shard holds."""
        return cls(
            f"{names:,} layers and columns need a header of about {size:,} bytes; a shard has room for {limit:,}, and for "
            "16,384 of them. Record fewer layers, or stack alike ones into one array."
        )

    @classmethod
    def rows_not_first(cls, key: str, axes: Iterable[str]) -> RowsError:
        """The adapter knows that the first axis is not the sample."""
        return cls(
            f"layer {key!r} has the axes ({', '.join(axes)}), and rows (samples) must come first: rearrange it in "
            "layers=, e.g. {'rnn[0]': 't b d -> b t d'}, or build the layer with batch_first=True."
        )


class IdError(InputError):
    """Ids that cannot name samples."""

    @classmethod
    def bad_type(cls, what: object) -> IdError:
        """Ids that are neither integers nor text."""
        return cls(f"ids are {what}; an id is an integer (64 bits) or a text without NUL, one for each row.")

    @classmethod
    def nan(cls, row: int) -> IdError:
        """NaN among float ids."""
        return cls(
            f"the id of row {row} is NaN. An id is an integer or a text: fill the missing ids, or drop the row."
        )

    @classmethod
    def count(cls, ids: int, rows: int) -> IdError:
        """Not one id a row."""
        return cls(f"{ids} ids for {rows} rows. Give one id for each row of the batch.")

    @classmethod
    def repeated(cls, ident: object, step: object, *, has_step: bool) -> IdError:
        """The same sample twice."""
        where = f"in step {step!r}" if has_step else "in this recording"
        remedy = (
            "Each sample is recorded once a step."
            if has_step
            else "To record the same samples again, give each pass a step: write(…, step=epoch)."
        )
        return cls(f"id {ident!r} stands twice {where}. {remedy}")

    @classmethod
    def sometimes(cls) -> IdError:
        """Ids given in one batch and not in another."""
        return cls(
            "ids were given for some batches and not for others. Give id= in every write(), or in none."
        )


class ColumnError(InputError):
    """Columns that cannot be stored."""

    @classmethod
    def count(cls, name: str, values: int, rows: int) -> ColumnError:
        """Not one value a row."""
        return cls(
            f"column {name!r} has {values} values for {rows} rows. Give one value for each row, or one for all."
        )

    @classmethod
    def bad_values(cls, name: str, what: object) -> ColumnError:
        """Values of a kind that a column cannot hold."""
        return cls(
            f"column {name!r} holds {what}; a column holds one number, bool or text for each row "
            "(no nested lists, no missing values)."
        )

    @classmethod
    def names(cls, given: Iterable[str], items: int) -> ColumnError:
        """`columns=` does not fit what the loader yields."""
        given = list(given)
        return cls(
            f"a batch has {items} items beside the model's input, and columns= names {len(given)} ({listed(given)}). "
            "Name each of them, in order."
        )

    @classmethod
    def no_mask(cls, mask: str, columns: Iterable[str]) -> ColumnError:
        """`mask=` names none of the items of a tuple."""
        return cls(
            f"mask= is {mask!r}, and columns= names {listed(columns)}. Where batches are tuples, name the item in columns=; "
            "it is used as the mask, and not stored as a column."
        )

    @classmethod
    def twice(cls, names: Iterable[str]) -> ColumnError:
        """One name for two columns."""
        return cls(
            f"columns= names {listed(names)} twice, or beside step=. Give each column a name of its own."
        )

    @classmethod
    def bad_name(cls, name: object) -> ColumnError:
        """`columns=[3]`."""
        return cls(f"columns= holds {name!r}; names of columns are text.")

    @classmethod
    def missing(cls, names: Iterable[str], keys: Iterable[str]) -> ColumnError:
        """`columns=` or `inputs=` names what a dict batch does not have."""
        return cls(f"the batch has no {listed(names)}. Its keys: {listed(keys)}.")


class BatchError(InputError):
    """What an iterable of batches yielded."""

    @classmethod
    def need_inputs(cls, keys: Iterable[str]) -> BatchError:
        """A dict batch, and no word which of it goes to the model."""
        return cls(
            f"a batch is a dict ({listed(keys)}): say what of it goes to the model, e.g. inputs='image' (one "
            "argument) or inputs=['input_ids', 'attention_mask'] (by name). The rest become columns."
        )

    @classmethod
    def bad_inputs(cls, given: object) -> BatchError:
        """`inputs=` of another kind than the batches."""
        return cls(
            f"inputs= is {given!r}; for dict batches it is a key or a list of keys, for tuples the number of "
            "items that go to the model (1 if left out)."
        )

    @classmethod
    def no_rows(cls, given: object) -> BatchError:
        """An input without a first axis."""
        return cls(
            f"cannot tell how many samples a batch holds: its input is a {type(given).__name__} without a shape. "
            "Let the loader yield arrays, rows first."
        )

    @classmethod
    def not_iterable(cls, given: object) -> BatchError:
        """`batches` that cannot be looped over."""
        return cls(
            f"batches is a {type(given).__name__}, which is not an iterable of batches. Give a DataLoader, a list of "
            "arrays, a generator … (one array of samples: [array], or array.split(256))."
        )


class ArgumentError(InputError):
    """Another argument that cannot be used."""

    @classmethod
    def choice(cls, name: str, given: object, allowed: Iterable[object]) -> ArgumentError:
        """A value that is not among the allowed ones."""
        return cls(f"{name}= is {given!r}; it takes one of: {', '.join(map(repr, allowed))}.")

    @classmethod
    def at_least(cls, name: str, given: object, least: int, most: int | None = None) -> ArgumentError:
        """A number that is too small, too large, or not a whole one."""
        end = "." if most is None else f", and at most {most}."
        return cls(f"{name}= is {given!r}; it takes a whole number of at least {least}{end}")

    @classmethod
    def rows(cls, given: object) -> ArgumentError:
        """`take(0)`."""
        return cls(
            f"take() got {given!r}; it takes a slice, or one list of row numbers or of booleans. One row: [0]."
        )

    @classmethod
    def path(cls, given: object) -> ArgumentError:
        """`open(None)`."""
        return cls(f"path is {given!r}; it takes the name of a folder, a text or a pathlib.Path.")

    @classmethod
    def rank(cls, rank: object, ranks: int) -> ArgumentError:
        """A rank that is not below the number of ranks."""
        return cls(
            f"rank= is {rank!r}, and ranks= is {ranks}; where several processes write one recording, each gives rank= "
            "from 0 on and ranks=, how many there are: Recorder(path, rank=dist.get_rank(), ranks=dist.get_world_size())."
        )

    @classmethod
    def ragged(cls, layer: str, axis: str) -> ArgumentError:
        """A layer of rows of different lengths where one array is wanted."""
        return cls(
            f"layer {layer!r} has a different number of positions (axis {axis!r}) in each sample, so it is no one array. "
            "Choose: layer.tokens (every position a row), layer.mean() (the average of each sample), layer.row(i) "
            "(one sample), or layer.padded()."
        )

    @classmethod
    def fill(cls, layer: str, dtype: str) -> ArgumentError:
        """No NaN among integers."""
        return cls(
            f"layer {layer!r} is of dtype {dtype}, which has no NaN to pad with: give a value, padded(fill=0)."
        )

    @classmethod
    def bad_fill(cls, layer: str, fill: object, dtype: str) -> ArgumentError:
        """A value that the dtype does not hold."""
        return cls(
            f"fill= is {fill!r}, which {dtype}, the dtype of layer {layer!r}, does not hold; give another value."
        )

    @classmethod
    def belongs_to_recorder(cls, names: Iterable[str]) -> ArgumentError:
        """Options of a Recorder beside an open one."""
        return cls(
            f"{listed(names)} were decided when the Recorder was opened: give them to Recorder(…), not to record()."
        )

    @classmethod
    def unknown(cls, function: str, names: Iterable[str], allowed: Iterable[str]) -> ArgumentError:
        """A keyword that the function does not take."""
        return cls(
            f"{function}() does not take {listed(names)}. Options for the recording: {listed(allowed)}."
        )

    @classmethod
    def sample(cls, given: object) -> ArgumentError:
        """`sample=` of a wrong kind or range."""
        return cls(
            f"sample= is {given!r}; it takes a fraction above 0 up to 1, a list of ids, or a function that maps an "
            "array of ids to an array of booleans of the same length."
        )


def _counts(rows: Mapping[str, int]) -> str:
    return listed(f"{key} {count}" for key, count in rows.items())
