"""Estimators as files: equal estimators are equal files, and a file runs no code of its own."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skops")
pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from cas.checkpoint.estimator_file import dump_estimator, load_estimator
from cas.errors import FormatError, RefusedError
from cas.layouts import find_layout

INPUTS, TARGETS = make_classification(n_samples=60, n_features=5, random_state=0)
KINDS = {
    "logistic": lambda: LogisticRegression(),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=2.0)),
    "columns": lambda: make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), [0, 1]), ("keep", "passthrough", [2, 3, 4])]),
        LogisticRegression(),
    ),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0),
    "network": lambda: MLPClassifier((4,), max_iter=20, random_state=np.random.RandomState(0), tol=10.0),
    "machine": lambda: SVC(),
    "neighbours": lambda: KNeighborsClassifier(),
}


class Canary:
    """Leaves a file behind when it is unpickled, or made."""

    path = ""

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class Holder(BaseEstimator):
    """A user's own estimator, which may hold anything."""

    def __init__(self, value=None):
        self.value = value

    def __setstate__(self, state):
        if Canary.path:
            Path(Canary.path).touch()
        self.__dict__.update(state)


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_comes_back_and_is_the_same_file_again(kind):
    """What is loaded predicts the same; two fits and the loaded one are byte for byte one file."""
    first, second = KINDS[kind]().fit(INPUTS, TARGETS), KINDS[kind]().fit(INPUTS, TARGETS)
    data = dump_estimator(first)
    loaded = load_estimator(data, "model", trust_all=True)

    assert dump_estimator(second) == data
    assert dump_estimator(loaded) == data  # before it predicts: a k-d tree counts what it is asked
    np.testing.assert_array_equal(loaded.predict(INPUTS), first.predict(INPUTS))


def test_what_skops_does_not_trust_needs_a_word():
    """Trees of a forged file could crash a process, so they are made for who trusts them, or the whole file."""
    data = dump_estimator(KINDS["forest"]().fit(INPUTS, TARGETS))

    with pytest.raises(RefusedError, match=r"trusted=\['sklearn\.tree\._tree\.Tree'\], or .*allow_pickle=True"):
        load_estimator(data, "model")
    assert len(load_estimator(data, "model", ["sklearn.tree._tree.Tree"]).estimators_) == 5
    assert len(load_estimator(data, "model", trust_all=True).estimators_) == 5


@pytest.mark.slow
def test_the_file_does_not_depend_on_the_process():
    """Neither addresses nor the seed of hashes, which orders sets, reach the file."""
    program = """
import hashlib, sys
from sklearn.feature_extraction.text import TfidfVectorizer
from cas.checkpoint.estimator_file import dump_estimator
words = TfidfVectorizer(stop_words=["the", "a"]).fit(["the cat sat", "a dog ran", "cats and dogs"])
words.seen_ = {"cat", "dog", "fish", ("bird", 1), 2.5, "ant", "bee"}
sys.stdout.write(hashlib.sha256(dump_estimator(words)).hexdigest())
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_dicts_keep_their_order_and_their_keys_types():
    """A vocabulary's keys are text, numbers or both, and come back as they were, in their order."""
    mixed = {"b": 1, 10: "ten", "a": [2, {3}], 2: "two", 2.5: None}
    loaded = load_estimator(dump_estimator(FunctionTransformer(kw_args=mixed)), "model")

    assert loaded.kw_args == mixed
    assert [(type(key), key) for key in loaded.kw_args] == [(type(key), key) for key in mixed]


def test_one_object_in_two_places_stays_one():
    """Sharing is part of the estimator: both places refer to one array after loading."""
    array = np.arange(3.0)
    trusted = [f"{Holder.__module__}.Holder"]
    loaded = load_estimator(dump_estimator(Holder([array, array, array.copy()])), "model", trusted)

    assert loaded.value[0] is loaded.value[1]
    assert loaded.value[0] is not loaded.value[2]


def test_equal_numbers_and_texts_need_not_be_one_object():
    """Whether Python made one object or two of equal text is chance, and not part of the file."""
    text = "".join(["some ", "text"])
    assert dump_estimator(Holder([text, text])) == dump_estimator(Holder([text, "".join(["some ", "text"])]))


def test_arrays_deduplicate_by_themselves():
    """The archive is cut at its arrays, which lie in it as NumPy's files do."""
    data = dump_estimator(StandardScaler().fit(INPUTS))
    layout = find_layout(lambda offset, size_bytes: data[offset : offset + size_bytes], len(data))

    assert layout is not None
    assert layout.format == "npz"


def test_a_type_that_nobody_trusts_is_named_and_not_made(tmp_path, monkeypatch):
    """A user's own class is not even made before it is trusted by its name."""
    data = dump_estimator(Holder(1))
    name = f"{Holder.__module__}.Holder"
    monkeypatch.setattr(Canary, "path", str(tmp_path / "canary"))

    with pytest.raises(RefusedError, match="Holder"):
        load_estimator(data, "model.skops")
    assert not (tmp_path / "canary").exists()
    assert load_estimator(data, "model.skops", [name]).value == 1
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("function", [("posix", "system"), ("builtins", "eval"), ("os", "system")])
def test_a_function_put_into_an_archive_does_not_run(function, tmp_path):
    """An archive that asks for a function that writes a file is refused, and the file is not there."""
    canary = tmp_path / "canary"
    module, name = function
    argument = f"touch {canary}" if name == "system" else f"open({str(canary)!r}, 'w').close()"
    hostile = _changed(dump_estimator(StandardScaler()), lambda schema: _call(module, name, argument, schema))

    with pytest.raises(RefusedError, match=name):
        load_estimator(hostile, "model.skops")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["array", "pickle", "cut", "no schema", "deep"])
def test_other_files_are_format_errors_and_run_nothing(name, tmp_path, monkeypatch):
    """A pickle in place of an archive or of an array in one is refused as malformed."""
    monkeypatch.setattr(Canary, "path", str(tmp_path / "canary"))
    good = dump_estimator(StandardScaler().fit(INPUTS))
    bad = {
        "array": _with_member(good, "0.npy", pickle.dumps(Canary())),
        "pickle": pickle.dumps(Canary()),
        "cut": good[:-30],
        "no schema": _with_member(good, "schema.json", b"[]"),
        "deep": _with_member(good, "schema.json", b"[" * 100_000 + b"]" * 100_000),
    }[name]

    with pytest.raises(FormatError, match=r"model\.skops"):
        load_estimator(bad, "model.skops")
    assert not (tmp_path / "canary").exists()


def test_what_skops_cannot_store_is_said_so():
    """An open file is no part of an estimator."""
    with open(os.devnull) as file, pytest.raises(FormatError, match="skops"):
        dump_estimator(Holder(file))


def test_files_that_skops_wrote_itself_are_read():
    """An archive as skops makes it, compressed or not, loads as well."""
    import skops.io

    words = TfidfVectorizer().fit(["the cat sat", "a dog ran"])
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        loaded = load_estimator(skops.io.dumps(words, compression=compression), "model.skops")
        assert loaded.vocabulary_ == words.vocabulary_


def _members(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {name: source.read(name) for name in source.namelist()}


def _with_member(archive, name, content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        for member, data in {**_members(archive), name: content}.items():
            written.writestr(member, data)
    return target.getvalue()


def _changed(archive, change):
    schema = json.loads(_members(archive)["schema.json"])
    return _with_member(archive, "schema.json", json.dumps(change(schema)).encode())


def _call(module, name, argument, schema):
    """A schema in which a partial of a function stands where an attribute was."""

    def node(loader, content, kind=("builtins", "tuple")):
        return {"__class__": kind[1], "__module__": kind[0], "__loader__": loader, "content": content}

    text = node("JsonNode", json.dumps(argument), ("builtins", "str"))
    function = {"__class__": name, "__module__": module, "__loader__": "FunctionNode"}
    empty = {**node("DictNode", {}, ("builtins", "dict")), "key_types": node("ListNode", [], ("builtins", "list"))}
    parts = {"func": function, "args": node("TupleNode", [text]), "kwds": empty, "namespace": empty}
    schema["content"]["content"]["with_mean"] = node("PartialNode", parts, ("functools", "partial"))
    return schema
