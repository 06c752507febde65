"""The base class: conversions, preprocessor, hooks, and that it cannot be pickled. Names in parentheses are Ray's."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cas import Checkpoint
from cas.errors import FormatError
from cas.predictors import BatchFormat, Predictor, PredictorNotSerializableException, find_predictor, predictor_of

BATCHES = {
    "pandas": pd.DataFrame({"x": [1, 2, 3]}),
    "arrow": pa.table({"x": [1, 2, 3]}),
    "dict": {"x": np.array([1, 2, 3])},
    "array": np.array([1, 2, 3]),
}


class Doubling:
    def transform_batch(self, batch):
        return {name: array * 2 for name, array in batch.items()} if isinstance(batch, dict) else batch * 2


class Scaling(Predictor):
    def __init__(self, factor=1.0, preprocessor=None):
        super().__init__(preprocessor)
        self.factor = factor

    @classmethod
    def from_checkpoint(cls, checkpoint, **kwargs):
        return cls(checkpoint.to_dict()["factor"], **kwargs)

    def _predict_pandas(self, data, **kwargs):
        self.seen = (type(data), kwargs)
        return data * self.factor


class ScalingArrays(Scaling):
    def _predict_numpy(self, data, **kwargs):
        self.seen = (type(data), kwargs)
        return {name: a * self.factor for name, a in data.items()} if isinstance(data, dict) else data * self.factor

    @classmethod
    def preferred_batch_format(cls):
        return BatchFormat.NUMPY


def values(batch):
    if isinstance(batch, pa.Table):
        return batch["x"].to_pylist()
    return np.asarray(batch if isinstance(batch, np.ndarray) else batch["x"]).tolist()


def test_serialization():
    """(test_serialization) A class can be pickled, an instance cannot, and the error says what to pickle instead."""
    assert pickle.loads(pickle.dumps(find_predictor("xgboost"))) is find_predictor("xgboost")
    with pytest.raises(PredictorNotSerializableException, match=r"Scaling\.from_checkpoint\(checkpoint\)"):
        pickle.dumps(Scaling())


def test_from_checkpoint():
    """(test_from_checkpoint) Also from a bare hash."""
    checkpoint = Checkpoint.from_dict({"factor": 2.0})
    assert Scaling.from_checkpoint(checkpoint).factor == 2.0
    assert Scaling.from_checkpoint(Checkpoint.from_hash(checkpoint.hash)).factor == 2.0


@pytest.mark.parametrize("kind", [Scaling, ScalingArrays])
@pytest.mark.parametrize("form", [form for form in BATCHES if form != "arrow"])
def test_predict(form, kind):
    """(test_predict) Preprocess, then predict, and the answer has the question's form."""
    answer = kind(2.0, Doubling()).predict(BATCHES[form])
    assert type(answer) is type(BATCHES[form])
    assert values(answer) == [4, 8, 12]


@pytest.mark.parametrize("kind", [Scaling, ScalingArrays])
def test_predict_arrow_tables(kind):
    """Arrow Tables in, Arrow Tables out, whichever hook answers."""
    answer = kind(3.0).predict(BATCHES["arrow"])
    assert isinstance(answer, pa.Table)
    assert values(answer) == [3, 6, 9]


def test_from_udf():
    """(test_from_udf) A function of DataFrames is a predictor, and gets the keyword arguments."""

    def function(frame, plus=0):
        return frame + plus

    predictor = Predictor.from_pandas_udf(function)
    assert values(predictor.predict(BATCHES["pandas"])) == [1, 2, 3]
    assert values(predictor.predict(BATCHES["dict"], plus=1)) == [2, 3, 4]


def test_kwargs():
    """(test_kwargs) What `predict` is given beside the data reaches the hook."""
    predictor = Scaling()
    predictor.predict(BATCHES["pandas"], extra_arg=1)
    assert predictor.seen == (pd.DataFrame, {"extra_arg": 1})


def test_get_and_set_preprocessor():
    """(test_get_and_set_preprocessor) It can be replaced and taken out."""
    first, second = Doubling(), Doubling()
    predictor = Scaling(preprocessor=first)
    assert predictor.get_preprocessor() is first
    predictor.set_preprocessor(second)
    assert predictor.get_preprocessor() is second
    predictor.set_preprocessor(None)
    assert values(predictor.predict(BATCHES["pandas"])) == [1, 2, 3]


def test_the_hook_that_is_there_answers():
    """Of two hooks the preferred one; of one that one; a bare array goes to the one for arrays."""
    assert Scaling.batch_format() == BatchFormat.PANDAS
    assert ScalingArrays.batch_format() == BatchFormat.NUMPY
    predictor = ScalingArrays()
    predictor.predict(BATCHES["pandas"])
    assert predictor.seen[0] is dict

    class PreferringFrames(ScalingArrays):
        @classmethod
        def preferred_batch_format(cls):
            return "pandas"  # Ray's enumeration is a string too

    predictor = PreferringFrames()
    predictor.predict(BATCHES["dict"])
    assert predictor.seen[0] is pd.DataFrame
    predictor.predict(BATCHES["array"])
    assert predictor.seen[0] is np.ndarray


def test_incomplete_subclasses_say_what_they_lack():
    """Neither hook, or no call of the base class: NotImplementedError, as in Ray."""

    class Mute(Predictor):
        @classmethod
        def from_checkpoint(cls, checkpoint, **kwargs):
            return cls()

    class Uninitialized(Scaling):
        def __init__(self):
            self.factor = 1.0

    with pytest.raises(NotImplementedError, match="_predict_pandas"):
        Mute().predict(BATCHES["pandas"])
    with pytest.raises(NotImplementedError, match=r"super\(\).__init__"):
        Uninitialized().predict(BATCHES["pandas"])
    with pytest.raises(TypeError, match="abstract"):
        Predictor()


@pytest.mark.parametrize("data", [[1, 2, 3], "rows", 3, {"x": [1]}, None])
def test_other_data_is_refused(data):
    """What is no batch never reaches the model."""
    with pytest.raises(FormatError):
        Scaling().predict(data)


def test_an_answer_that_is_no_batch_is_refused():
    """A hook that gives something else is told so, rather than its caller."""
    with pytest.raises(FormatError, match="list is no batch"):
        Predictor.from_pandas_udf(lambda frame: [1]).predict(BATCHES["pandas"])


def test_predictors_are_found_by_name_and_by_path():
    """Short names and import paths of either spelling."""
    found = find_predictor("torch")
    assert found.__name__ == "TorchPredictor"
    assert find_predictor("cas.predictors.torch:TorchPredictor") is found
    assert find_predictor("cas.predictors.torch.TorchPredictor") is found


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torsch", "give one of"),
        ("no_such_package.module:Thing", "no module no_such_package"),
        ("cas.predictors.torch:Nothing", "has no Nothing"),
    ],
)
def test_a_wrong_name_is_explained(name, reason):
    """The message lists what there is, or says which part is missing."""
    with pytest.raises(KeyError, match=reason):
        find_predictor(name)


def test_a_path_to_something_else_is_refused():
    """A class that is no predictor is not called."""
    with pytest.raises(FormatError, match="no subclass"):
        find_predictor("cas.errors:CasError")


def test_a_checkpoint_that_says_nothing_asks_for_a_name():
    """Only those made as a framework's class know their predictor."""
    with pytest.raises(KeyError, match="name a predictor"):
        predictor_of(Checkpoint.from_dict({"a": 1}))
