"""Batches: four forms, one content."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from cas.errors import FormatError
from cas.predictors.batch import (
    VALUE_COLUMN,
    check_batch,
    column_names,
    concatenate,
    count_rows,
    select_columns,
    size_bytes,
    slice_rows,
    with_columns,
)
from cas.predictors.conversion import like, to_arrow, to_numpy, to_pandas

DTYPES = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?", "f2"])
ITEMS = st.sampled_from([(), (3,), (2, 2)])


@st.composite
def dicts(draw):
    rows = draw(st.integers(1, 6))
    shapes = {name: (rows, *draw(ITEMS)) for name in draw(st.sets(st.sampled_from("abc"), min_size=1))}
    return {name: draw(arrays.arrays(draw(DTYPES), shape)) for name, shape in shapes.items()}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)


@settings(max_examples=60, deadline=None)
@given(batch=dicts())
def test_a_dict_survives_every_form(batch):
    """Dict to DataFrame or Arrow and back keeps columns, types, shapes and values, arrays in rows included."""
    numeric = {name: array for name, array in batch.items() if array.dtype != bool or array.ndim < 3}
    if not numeric:
        return
    assert_same(to_numpy(to_pandas(numeric)), numeric)
    assert_same(to_numpy(to_arrow(numeric)), numeric)
    assert_same(to_numpy(to_arrow(to_pandas(numeric))), numeric)
    assert_same(to_numpy(to_pandas(to_arrow(numeric))), numeric)


@settings(max_examples=40, deadline=None)
@given(array=arrays.arrays(DTYPES, st.sampled_from([(4,), (4, 3), (1, 2, 2)])))
def test_an_array_without_names_survives_a_data_frame(array):
    """It is the one column `__value__` there, and an array again when it comes back."""
    assert list(to_pandas(array).columns) == [VALUE_COLUMN]
    np.testing.assert_array_equal(to_numpy(to_pandas(array)), array)
    if array.dtype != bool or array.ndim < 3:
        np.testing.assert_array_equal(to_numpy(to_arrow(array)), array)


@settings(max_examples=40, deadline=None)
@given(batch=dicts(), cut=st.integers(0, 6), form=st.sampled_from([to_pandas, to_numpy, dict]))
def test_slices_concatenate_to_the_whole(batch, cut, form):
    """Cutting a batch and joining the parts changes nothing."""
    whole = form(batch) if form is not to_numpy else batch
    rows = count_rows(whole)
    joined = concatenate([slice_rows(whole, 0, cut), slice_rows(whole, cut, max(rows, cut))])
    assert count_rows(joined) == rows
    assert_same(to_numpy(joined), batch)


def test_texts_dates_and_gaps_keep_their_values():
    """What numbers are not also goes from one form to the other."""
    frame = pd.DataFrame({"text": ["a", None, "c"], "day": pd.to_datetime(["2026-01-01"] * 3), "n": [1.0, None, 3.0]})
    table = to_arrow(frame)
    assert table["text"].to_pylist() == ["a", None, "c"]
    assert table["n"].to_pylist() == [1.0, None, 3.0]
    assert to_pandas(table)["text"].tolist()[0] == "a"
    assert to_numpy(table)["day"].dtype.kind == "M"


def test_an_answer_takes_the_form_of_its_question():
    """DataFrame, Table, dict and array each get their own back; names are never lost."""
    answer = {"predictions": np.array([1, 2])}
    frame = like(answer, pd.DataFrame({"x": [1, 2]}, index=["p", "q"]))
    assert list(frame.index) == ["p", "q"]
    assert like(answer, pa.table({"x": [1, 2]})).to_pydict() == {"predictions": [1, 2]}
    assert_same(like(pd.DataFrame(answer), {"x": np.array([1, 2])}), answer)
    assert_same(like(answer, np.array([1, 2])), answer)
    np.testing.assert_array_equal(like(np.array([5]), np.array([1])), [5])
    assert_same(like(np.array([5]), {"x": np.array([1])}), {"predictions": np.array([5])})


def test_an_answer_with_an_index_of_its_own_keeps_it():
    """A function that reorders rows says so by the index, which must not be overwritten."""
    asked = pd.DataFrame({"x": [3, 1]}, index=[10, 11])
    assert list(like(asked.sort_values("x"), asked).index) == [11, 10]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ([1, 2], "list is no batch"),
        (np.array(1), "no dimension"),
        ({"a": [1]}, "'a'"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "equally long"),
        ("rows", "str is no batch"),
    ],
)
def test_what_is_no_batch_is_refused_by_name(batch, reason):
    """The message says what it is, and what would do."""
    with pytest.raises(FormatError, match=reason):
        check_batch(batch)


@pytest.mark.parametrize("form", [to_pandas, to_arrow, dict])
def test_columns_are_selected_and_kept_in_order(form):
    """Selecting gives the order asked for; kept columns replace equal names and go behind otherwise."""
    batch = form({"a": np.array([1]), "b": np.array([2]), "c": np.array([3])})
    assert column_names(select_columns(batch, ["c", "a"])) == ["c", "a"]
    answer = form({"a": np.array([9]), "z": np.array([8])})
    assert_same(
        to_numpy(with_columns(answer, batch, ["a", "b"])), {"a": np.array([1]), "z": np.array([8]), "b": np.array([2])}
    )
    assert column_names(answer) == ["a", "z"]
    with pytest.raises(FormatError, match="no column 'q'"):
        select_columns(batch, ["q"])
    with pytest.raises(FormatError, match="cannot be kept"):
        with_columns(slice_rows(answer, 0, 0), batch, ["a"])


def test_an_array_has_no_columns_to_name():
    """Columns of an array without names are a ValueError, as in Ray."""
    with pytest.raises(ValueError, match="no names"):
        select_columns(np.zeros((2, 2)), ["a"])


def test_batches_of_different_columns_are_not_joined():
    """A predictor that changes its mind about columns is found out."""
    with pytest.raises(FormatError, match="different columns"):
        concatenate([{"a": np.zeros(1)}, {"b": np.zeros(1)}])
    with pytest.raises(FormatError, match="different forms"):
        concatenate([{"a": np.zeros(1)}, np.zeros(1)])


@pytest.mark.parametrize("form", [to_pandas, to_arrow, dict])
def test_size_is_that_of_the_values(form):
    """Progress counts bytes: those of the columns."""
    assert size_bytes(form({"a": np.zeros(10), "b": np.zeros(10, "f4")})) == 120
