"""TorchPredictor. Names in parentheses are those of Ray AIR's tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("torch")

import torch

from cas import Checkpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError
from cas.predictors import BatchPredictor, TorchPredictor, predictor_of

pytestmark = pytest.mark.slow  # importing torch takes several seconds


class Doubling(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Summing(torch.nn.Module):
    def forward(self, columns):
        return sum(columns.values())


class TwoOutputs(torch.nn.Module):
    def forward(self, x):
        return {"a": x, "b": x}


class Listing(torch.nn.Module):
    def forward(self, x):
        return [x, x]


class TimesTen:
    def transform_batch(self, batch):
        return batch * 10


def trained():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    x, y = torch.randn(64, 3), torch.randn(64, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return model


def blank():
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def test_repr_and_eval_mode():
    """(test_repr, test_predict_model_not_training)"""
    predictor = TorchPredictor(torch.nn.Dropout())
    assert repr(predictor) == "TorchPredictor(model=Dropout, use_gpu=False)"
    assert not predictor.model.training


def test_from_a_hash_alone():
    """(test_init, test_predict_array_no_training) Weights by hash and a class give the trained model's answers."""
    model = trained()
    checkpoint = Checkpoint.from_hash(TorchCheckpoint.from_model(model).hash)
    assert predictor_of(checkpoint) is TorchPredictor
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    expected = model.eval()(torch.from_numpy(x)).detach().numpy()
    predictor = TorchPredictor.from_checkpoint(checkpoint, model=blank)
    np.testing.assert_allclose(predictor.predict(x)["predictions"], expected, rtol=1e-6)
    # In a table a row of features is one column of arrays.
    answer = BatchPredictor(checkpoint, TorchPredictor, model=blank).predict({"x": x}, batch_size=4)
    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-6)
    with pytest.raises(NotFoundError):
        TorchPredictor.from_checkpoint(checkpoint)


def test_a_whole_module_needs_permission():
    """A pickled module, as Ray AIR kept it, is loaded only by permission."""
    checkpoint = TorchCheckpoint.from_model(torch.nn.Linear(2, 1), allow_pickle=True)
    with pytest.raises(RefusedError, match="allow_pickle=True"):
        TorchPredictor.from_checkpoint(checkpoint)
    assert isinstance(TorchPredictor.from_checkpoint(checkpoint, allow_pickle=True).model, torch.nn.Linear)


@pytest.mark.parametrize("form", [pd.DataFrame, pa.Table.from_pandas, lambda f: {n: f[n].to_numpy() for n in f}])
def test_predict(form):
    """(test_predict, test_predict_dataframe) Many columns are a dict of tensors."""
    batch = form(pd.DataFrame({"X0": [0.0, 0.0, 0.0], "X1": [1.0, 2.0, 3.0]}))
    answer = TorchPredictor(Summing()).predict(batch, dtype=torch.float)
    assert type(answer) is type(batch)
    assert np.asarray(answer["predictions"]).tolist() == [1.0, 2.0, 3.0]


def test_predict_array():
    """(test_predict_array, test_predict_array_with_preprocessor) An array's answer is named `predictions`."""
    answer = TorchPredictor(Doubling()).predict(np.asarray([1, 2, 3]))
    assert list(answer) == ["predictions"]
    np.testing.assert_array_equal(answer["predictions"], [2, 4, 6])
    prepared = TorchPredictor(Doubling(), TimesTen()).predict(np.array([1, 2, 3]))
    np.testing.assert_array_equal(prepared["predictions"], [20, 40, 60])


def test_predict_multi_output():
    """(test_predict_multi_output) A dict of tensors is columns."""
    answer = TorchPredictor(TwoOutputs()).predict(np.array([1, 2, 3]))
    assert {name: array.tolist() for name, array in answer.items()} == {"a": [1, 2, 3], "b": [1, 2, 3]}


def test_predict_unsupported_output():
    """(test_predict_unsupported_output) A list is a ValueError that says what to override; overriding helps."""
    with pytest.raises(ValueError, match="override call_model"):
        TorchPredictor(Listing()).predict(np.array([1, 2, 3]))

    class Naming(TorchPredictor):
        def call_model(self, inputs):
            return {str(number): item for number, item in enumerate(super().call_model(inputs))}

    assert list(Naming(Listing()).predict(np.array([1, 2, 3]))) == ["0", "1"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "int64"])
def test_predict_array_with_different_dtypes(dtype):
    """(test_predict_array_with_different_dtypes) By torch's dtype, by its name, or by column."""
    for given in (getattr(torch, dtype), dtype):
        answer = TorchPredictor(Doubling()).predict(np.array([1, 2, 3]), dtype=given)
        assert answer["predictions"].dtype == np.dtype(dtype)
    columns = {"a": np.array([1]), "b": np.array([2])}
    answer = TorchPredictor(Summing()).predict(columns, dtype={"a": getattr(torch, dtype), "b": getattr(torch, dtype)})
    assert answer["predictions"].dtype == np.dtype(dtype)


def test_bfloat16_answers_are_float32():
    """NumPy has no bfloat16."""
    answer = TorchPredictor(Doubling()).predict(np.array([1.0, 2.0]), dtype="bfloat16")
    assert answer["predictions"].dtype == np.float32


def test_memory_that_may_not_be_written_is_copied():
    """Ray hands out shared memory, which torch would warn about and could write to."""
    array = np.array([1.0, 2.0])
    array.flags.writeable = False
    assert TorchPredictor(Doubling()).predict(array)["predictions"].tolist() == [2.0, 4.0]


def test_what_no_tensor_holds_is_named():
    """Texts, a dtype that is none, a module that is none, and a GPU that is not there."""
    with pytest.raises(FormatError, match="column 'name'"):
        TorchPredictor(Doubling()).predict(pd.DataFrame({"name": ["a"]}))
    with pytest.raises(FormatError, match="'flaot'"):
        TorchPredictor(Doubling()).predict(np.zeros(1), dtype="flaot")
    with pytest.raises(FormatError, match="by column"):
        TorchPredictor(Doubling()).predict(np.zeros(1), dtype={"a": torch.float})
    with pytest.raises(FormatError, match=r"no torch\.nn\.Module"):
        TorchPredictor("model")
    if not torch.cuda.is_available():
        with pytest.raises(RefusedError, match="no GPU"):
            TorchPredictor(Doubling(), use_gpu=True)
