"""The preprocessor's slot: one file beside a model's, for what its input must go through first.

scikit-learn's transformers and pipelines are stored by skops, which loads no code from data. Anything else
is pickled, and only by permission.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cas.checkpoint.estimator_file import dump_estimator, load_estimator
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.errors import FormatError, RefusedError
from cas.format import Buffer

__all__ = ["PREPROCESSOR_PATHS", "decode_preprocessor", "encode_preprocessor"]

_SKOPS, _PICKLE = "cas-preprocessor.skops", "cas-preprocessor.pkl"
PREPROCESSOR_PATHS = (_SKOPS, _PICKLE)
_PICKLE_PROTOCOL = 5


def encode_preprocessor(preprocessor: object, allow_pickle: bool | None) -> tuple[str, bytes]:
    """The path and the content of a preprocessor's file.

    Raises:
        RefusedError: only pickle can store it, and nobody allowed that.
        FormatError: it cannot be stored at all.
    """
    if _is_estimator(preprocessor):
        return _SKOPS, dump_estimator(preprocessor)
    kind = type(preprocessor)
    if not pickle_is_allowed(allow_pickle):
        raise RefusedError(
            f"the preprocessor is a {kind.__module__}.{kind.__qualname__}, which only pickle can store, and loading"
            f" a pickle runs code:\nuse one of scikit-learn's, or {HOW_TO_ALLOW}"
        )
    try:
        return _PICKLE, pickle.dumps(preprocessor, _PICKLE_PROTOCOL)
    except Exception as error:  # the object's own code runs, and may raise anything
        raise FormatError(f"the preprocessor, a {kind.__qualname__}, cannot be pickled: {error}") from error


def decode_preprocessor(
    find: Callable[[str], Buffer | None], allow_pickle: bool | None, trusted: Iterable[str]
) -> Any | None:
    """The preprocessor among a checkpoint's files, or None.

    Args:
        find: gives a file's content, or None.
        allow_pickle: whether a pickled one may be loaded, which runs code.
        trusted: types beyond scikit-learn's that skops may make.

    Raises:
        RefusedError: it is pickled, or holds a type nobody trusts; the message says how to allow it.
    """
    if (data := find(_SKOPS)) is not None:
        return load_estimator(data, _SKOPS, trusted, trust_all=pickle_is_allowed(allow_pickle))
    if (data := find(_PICKLE)) is None:
        return None
    if not pickle_is_allowed(allow_pickle):
        raise RefusedError(f"{_PICKLE} is a pickled object; loading it runs code: if you trust it, {HOW_TO_ALLOW}")
    try:
        return pickle.loads(data)
    except Exception as error:  # the pickle's own code runs, and may raise anything
        raise FormatError(f"{_PICKLE} cannot be unpickled: {error}") from error


def _is_estimator(value: object) -> bool:
    """Whether it is scikit-learn's kind of object; it can only be one if somebody imported scikit-learn."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(value, base.BaseEstimator)
