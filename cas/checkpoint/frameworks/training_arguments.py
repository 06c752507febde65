"""``TrainingArguments`` as JSON, which runs no code when it is read, and without the tokens, which are secret."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from typing import Any

from cas.checkpoint.kind import class_name
from cas.errors import FormatError

__all__ = ["ARGUMENTS_PATH", "decode_arguments", "encode_arguments"]

ARGUMENTS_PATH = "cas-training-arguments.json"
_OWN = ("transformers.training_args_seq2seq:Seq2SeqTrainingArguments",)


def encode_arguments(arguments: Any) -> bytes:
    """The file of ``TrainingArguments``, or of a class derived from it.

    Raises:
        FormatError: they are something else, or one of them cannot be stored as JSON; the message names it.
    """
    if not dataclasses.is_dataclass(arguments) or not hasattr(arguments, "to_dict"):
        raise FormatError(f"training arguments are TrainingArguments, not a {type(arguments).__name__}")
    plain = {name: value for name, value in arguments.to_dict().items() if not name.endswith("_token")}
    for name, value in plain.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"training argument {name!r} is a {type(value).__name__}, which JSON cannot hold"
            ) from error
    found = {"class": class_name(type(arguments)), "arguments": plain}
    return json.dumps(found, indent=2, sort_keys=True).encode()


def decode_arguments(data: bytes, transformers: Any) -> Any:
    """The arguments that a file holds. Some may be gone from the ``transformers`` that is given: a warning names them.

    Raises:
        FormatError: it is no such file, is of a class that nobody imported, or is not valid on this machine.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise FormatError(f"{ARGUMENTS_PATH} is no JSON: {error}") from error
    match found:
        case {"class": str(name), "arguments": dict(arguments)}:
            pass
        case _:
            raise FormatError(f"{ARGUMENTS_PATH} is not what cas writes there")
    # Looked up, never imported: data do not decide which modules are loaded. Its own, transformers loads when asked.
    if name in _OWN:
        getattr(transformers, name.rpartition(":")[2])
    known = (kind for kind in _subclasses(transformers.TrainingArguments) if class_name(kind) == name)
    if (kind := next(known, None)) is None:
        raise FormatError(f"training arguments are of {name}, which is not imported here; import its module first")
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    if unknown := sorted(arguments.keys() - fields):
        warnings.warn(f"{kind.__name__} has no {', '.join(unknown)} any more", stacklevel=3)
    try:
        return kind(**{name: value for name, value in arguments.items() if name in fields})
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        raise FormatError(f"{ARGUMENTS_PATH} is not valid here: {error}") from error


def _subclasses(kind: Any) -> Iterator[Any]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _subclasses(derived)
