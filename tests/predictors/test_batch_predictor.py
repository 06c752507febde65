"""BatchPredictor in this process: forms, streaming, columns, failures, progress; and the command line. No Ray."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.preprocessing import StandardScaler

from cas import Checkpoint
from cas.errors import FormatError, NotFoundError
from cas.predictors import BatchFailedError, BatchPredictor, Predictor
from cas.predictors.conversion import to_arrow, to_numpy, to_pandas

FRAME = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0) * 2, "key": [f"k{number}" for number in range(10)]})


class Adding(Predictor):
    """Adds up what it is given; counts how often it was made."""

    made = 0

    @classmethod
    def from_checkpoint(cls, checkpoint, **kwargs):
        cls.made += 1
        predictor = cls(checkpoint.get_preprocessor())
        predictor.offset = checkpoint.to_dict()["offset"]
        return predictor

    def _predict_pandas(self, data, limit=None):
        total = data.select_dtypes("number").sum(axis=1)
        if limit is not None and (total > limit).any():
            raise ValueError(f"above {limit}")
        return pd.DataFrame({"predictions": (total + self.offset).to_numpy()})


@pytest.fixture
def predictor():
    return BatchPredictor.from_checkpoint(Checkpoint.from_dict({"offset": 1.0}), Adding)


EXPECTED = (np.arange(10.0) * 3 + 1).tolist()


class Counting:
    """A progress that adds up."""

    def __init__(self):
        self.total, self.done, self.ended = None, 0, 0

    def begin(self, what, total_bytes):
        self.total = total_bytes

    def advance(self, raw_bytes, stored_bytes=0):
        self.done += raw_bytes

    def end(self):
        self.ended += 1


@pytest.mark.parametrize("form", [pd.DataFrame, to_arrow, lambda frame: to_numpy(frame)])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 4096])
def test_data_in_memory_comes_back_in_its_form(predictor, form, batch_size):
    """Whatever the batches, the answer is that of the whole."""
    data = form(FRAME)
    answer = predictor.predict(data, feature_columns=["a", "b"], keep_columns=["key"], batch_size=batch_size)
    assert type(answer) is type(data)
    frame = to_pandas(answer)
    assert frame["predictions"].tolist() == EXPECTED
    assert frame["key"].tolist() == FRAME["key"].tolist()


def test_an_index_goes_along(predictor):
    """A DataFrame's answer has its index, across batches."""
    data = FRAME.set_index(FRAME["key"].str.upper())
    assert list(predictor.predict(data, feature_columns=["a"], batch_size=4).index) == list(data.index)


def test_arrays_have_no_columns(predictor):
    """(columns with an ndarray batch: ValueError) and otherwise are predicted like the rest."""
    found = predictor.predict(np.arange(4.0), batch_size=3)
    assert found["predictions"].tolist() == [1.0, 2.0, 3.0, 4.0]
    for columns in ({"feature_columns": ["a"]}, {"keep_columns": ["a"]}):
        with pytest.raises(ValueError, match="no names"):
            predictor.predict(np.arange(4.0), **columns)


def test_parquet_files_stream(predictor, tmp_path):
    """A file and a directory of files are answered table by table, in order, with only as many rows as asked for."""
    pq.write_table(to_arrow(FRAME), tmp_path / "0.parquet", row_group_size=4)
    pq.write_table(to_arrow(FRAME), tmp_path / "1.parquet")
    tables = list(predictor.predict(tmp_path / "0.parquet", feature_columns=["a", "b"], batch_size=3))
    assert max(table.num_rows for table in tables) <= 3
    assert pa.concat_tables(tables)["predictions"].to_pylist() == EXPECTED
    both = pa.concat_tables(predictor.predict(str(tmp_path), feature_columns=["a", "b"]))
    assert both["predictions"].to_pylist() == EXPECTED * 2


def test_memory_does_not_grow_with_the_file(predictor, tmp_path):
    """At no time are more than a small part of its bytes held, whether Python or Arrow has them."""
    random = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "x.parquet", pa.schema({"a": pa.float64()})) as writer:
        for _ in range(40):
            writer.write_table(pa.table({"a": random.normal(size=50_000)}))
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for _ in predictor.predict(tmp_path / "x.parquet"):
            most = max(most, pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert 0 < most < (tmp_path / "x.parquet").stat().st_size / 4


def test_an_iterator_is_never_ahead_of_its_reader(predictor):
    """Of an endless source no more is taken than was asked for; each answer has its batch's form."""
    taken = itertools.count()
    source = (FRAME if next(taken) % 2 else to_arrow(FRAME) for _ in itertools.repeat(None))
    answers = predictor.predict(source, feature_columns=["a", "b"])
    first, second = next(answers), next(answers)
    assert isinstance(first, pa.Table)
    assert isinstance(second, pd.DataFrame)
    assert next(taken) == 2


def test_the_model_is_loaded_once(predictor):
    """Not for every batch, and not again for the next data set."""
    Adding.made = 0
    for _ in range(2):
        predictor.predict(FRAME, batch_size=2)
    assert Adding.made == 1


def test_kept_columns_are_the_preprocessed_ones():
    """(test_batch_prediction_keep_cols) They come from the preprocessed batch and replace equal names."""
    checkpoint = Checkpoint.from_dict({"offset": 0.0})
    scaler = StandardScaler(with_std=False).fit(FRAME[["a", "b"]])
    checkpoint.set_preprocessor(scaler)
    data = FRAME.rename(columns={"key": "predictions"})
    answer = BatchPredictor(Checkpoint.from_hash(checkpoint.hash), Adding).predict(
        data, feature_columns=["a"], keep_columns=["b", "predictions"]
    )
    assert answer["b"].tolist() == (FRAME["b"] - 9).tolist()
    assert answer["predictions"].tolist() == FRAME["key"].tolist()


def test_set_preprocessor_none_leaves_it_out():
    """The checkpoint's own preprocessor is used, replaced or left out; the checkpoint stays as it is."""
    checkpoint = Checkpoint.from_dict({"offset": 0.0})
    checkpoint.set_preprocessor(StandardScaler(with_std=False).fit(FRAME[["a"]]))
    predictor = BatchPredictor(checkpoint, Adding)
    assert predictor.predict(FRAME[["a"]])["predictions"].tolist() == (FRAME["a"] - 4.5).tolist()
    predictor.set_preprocessor(None)
    assert predictor.predict(FRAME[["a"]])["predictions"].tolist() == FRAME["a"].tolist()
    assert checkpoint.get_preprocessor() is not None


def test_a_predictor_of_its_own_preprocessor_keeps_it():
    """What a class brings itself, rather than with the checkpoint, is used; and left out if that is said."""

    class Centring(Adding):
        @classmethod
        def from_checkpoint(cls, checkpoint, **kwargs):
            predictor = super().from_checkpoint(checkpoint)
            predictor.set_preprocessor(StandardScaler(with_std=False).fit(FRAME[["a"]]))
            return predictor

    predictor = BatchPredictor(Checkpoint.from_dict({"offset": 0.0}), Centring)
    assert predictor.predict(FRAME[["a"]])["predictions"].tolist() == (FRAME["a"] - 4.5).tolist()
    predictor.set_preprocessor(None)
    assert predictor.predict(FRAME[["a"]])["predictions"].tolist() == FRAME["a"].tolist()


def test_a_failing_batch_names_its_rows(predictor):
    """The first and the last row's numbers, counted over the whole input, and what was raised; pickles too."""
    import pickle

    with pytest.raises(BatchFailedError, match="rows 6 to 8 could not be predicted: ValueError: above 17") as caught:
        predictor.predict(FRAME, batch_size=3, limit=17)
    assert isinstance(caught.value.__cause__, ValueError)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.first_row, copied.last_row, str(copied)) == (6, 8, str(caught.value))


def test_errored_batches_are_left_out_up_to_a_limit(predictor):
    """So many may fail and are reported; one more stops everything."""
    answer = predictor.predict(FRAME, batch_size=3, limit=17, max_errored_batches=2)
    assert answer["predictions"].tolist() == EXPECTED[:6]
    assert [(failed.first_row, failed.last_row) for failed in predictor.errored_batches] == [(6, 8), (9, 9)]
    with pytest.raises(BatchFailedError, match="rows 9 to 9"):
        predictor.predict(FRAME, batch_size=3, limit=17, max_errored_batches=1)
    assert len(predictor.predict(FRAME, limit=-1, max_errored_batches=1)) == 0


def test_progress_ends_at_the_whole(predictor, tmp_path):
    """Bytes done add up to the bytes announced, of data in memory; also who stops early sees the end."""
    for data in (FRAME, to_arrow(FRAME[["a", "b"]])):
        progress = Counting()
        predictor.predict(data, feature_columns=["a"], batch_size=1, progress=progress)
        assert (progress.done, progress.ended) == (progress.total, 1)
    pq.write_table(to_arrow(FRAME), tmp_path / "x.parquet")
    progress = Counting()
    answers = predictor.predict(tmp_path / "x.parquet", feature_columns=["a"], batch_size=4, progress=progress)
    next(answers)
    answers.close()
    assert progress.ended == 1
    assert 0 <= progress.done <= progress.total == (tmp_path / "x.parquet").stat().st_size


@pytest.mark.parametrize(
    ("data", "reason"),
    [(3, "int is no batch"), ([1, 2], "int is no batch"), ({"a": [1]}, "'a'"), (None, "NoneType is no batch")],
)
def test_other_data_is_refused(predictor, data, reason):
    """Nothing is guessed."""
    with pytest.raises(FormatError, match=reason):
        list(predictor.predict(data))


def test_bad_files_and_columns_are_named(predictor, tmp_path):
    """No file, no Parquet, no such column: each says so."""
    (tmp_path / "x.parquet").write_bytes(b"text")
    with pytest.raises(NotFoundError, match=r"y\.parquet"):
        predictor.predict(tmp_path / "y.parquet")
    with pytest.raises(FormatError, match="no Parquet file"):
        list(predictor.predict(tmp_path / "x.parquet"))
    pq.write_table(to_arrow(FRAME), tmp_path / "x.parquet")
    with pytest.raises(FormatError, match="no column 'q'"):
        list(predictor.predict(tmp_path / "x.parquet", feature_columns=["q"]))
    with pytest.raises(FormatError, match="batch_size=0"):
        predictor.predict(FRAME, batch_size=0)


def test_from_pandas_udf():
    """(test_batch_prediction_from_pandas_udf) A function stands for a model, and leaves nothing in the store."""
    predictor = BatchPredictor.from_pandas_udf(lambda frame, plus=0: frame[["a"]] + plus)
    assert predictor.predict(FRAME, plus=1)["a"].tolist() == (FRAME["a"] + 1).tolist()
    assert repr(predictor).startswith("BatchPredictor(")


def test_command_refuses_what_it_does_not_know(tmp_path):
    """An unknown predictor, and a checkpoint that does not say its framework: one line each, and the exit code."""
    from click.testing import CliRunner

    from cas.cli.main import cli

    name = Checkpoint.from_dict({"offset": 1.0}).hash
    pq.write_table(to_arrow(FRAME), tmp_path / "in.parquet")
    for extra, reason in (([], "name a predictor"), (["--predictor", "torsch"], "no predictor 'torsch'")):
        arguments = ["predict", name, str(tmp_path / "in.parquet"), "-o", str(tmp_path / "out.parquet"), *extra]
        done = CliRunner().invoke(cli, arguments)
        assert isinstance(done.exception, NotFoundError)
        assert reason in str(done.exception)
    assert not (tmp_path / "out.parquet").exists()
