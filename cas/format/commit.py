"""Commits: what people say about a checkpoint.

A commit is a checkpoint hash plus parents, time, author, message, run, trial,
step, metrics and params. It is immutable and named by the BLAKE3 of its bytes
under `COMMIT_CONTEXT`. Specified in docs/format.md section 7, pinned by
tests/vectors/commit.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cas.errors import CorruptError, FormatError
from cas.format import canonical
from cas.format.digest import COMMIT_CONTEXT, Digest
from cas.format.envelope import MAGIC_BYTES, check_fields, check_magic

__all__ = ["MAX_COMMIT_BYTES", "Commit", "Param"]

_MAGIC = b"CASCOMM\x01"
MAX_COMMIT_BYTES = 16 << 20
_MAX_PARENTS = 64

Param = None | bool | int | float | str | list[Any] | dict[str, Any]

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "author": str,
    "checkpoint": bytes,
    "message": str,
    "metrics": dict,
    "params": dict,
    "parents": list,
    "run": str,
    "step": (int, type(None)),
    "time_us": int,
    "trial": str,
}


@dataclass(frozen=True, slots=True)
class Commit:
    """One point in the history of a model.

    Attributes:
        checkpoint: the hash of the content.
        parents: commits that this one was trained from; the first is the one ``~1`` means.
        time_us: microseconds since 1970-01-01 UTC, by the writer's clock.
        author: who made it; free text.
        message: why; free text.
        run, trial: which experiment and which of its trials it belongs to; empty for none.
        step: training step, or None.
        metrics: what was measured: name to int or float.
        params: what was chosen: name to a JSON-like value.
        id: BLAKE3 of `encode`; the commit's name.
    """

    checkpoint: Digest
    parents: tuple[Digest, ...] = ()
    time_us: int = 0
    author: str = ""
    message: str = ""
    run: str = ""
    trial: str = ""
    step: int | None = None
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    params: Mapping[str, Param] = field(default_factory=dict)
    id: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.parents) > _MAX_PARENTS or len(set(self.parents)) != len(self.parents):
            raise FormatError(f"a commit has up to {_MAX_PARENTS} distinct parents")
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise FormatError(f"metric {name!r} needs a number, not {value!r}")
        data = self.encode()
        _check_size(data, "a commit")
        for name, param in self.params.items():
            _check_param(param, name)
        object.__setattr__(self, "id", Digest.of(data, context=COMMIT_CONTEXT))

    def encode(self) -> bytes:
        """The canonical bytes, whose hash is the commit's id."""
        body = {
            "author": self.author,
            "checkpoint": self.checkpoint.raw,
            "message": self.message,
            "metrics": dict(self.metrics),
            "params": dict(self.params),
            "parents": [parent.raw for parent in self.parents],
            "run": self.run,
            "step": self.step,
            "time_us": self.time_us,
            "trial": self.trial,
        }
        return _MAGIC + canonical.encode(check_fields(body, _FIELDS, "a commit"))

    @classmethod
    def decode(cls, data: bytes, key: Digest, where: str) -> Commit:
        """Read the commit that is stored under ``key``.

        Raises:
            CorruptError: the bytes do not hash to ``key``.
            FormatError: they do, and are no commit that this version reads.
        """
        if (actual := Digest.of(data, context=COMMIT_CONTEXT)) != key:
            raise CorruptError(key, actual, where)
        check_magic(data, _MAGIC, where)
        _check_size(data, where)
        body = check_fields(canonical.decode(memoryview(data)[MAGIC_BYTES:], where), _FIELDS, where)
        if not all(isinstance(parent, bytes) for parent in body["parents"]):
            raise FormatError(f"{where}: a parent is not a digest")
        body["checkpoint"] = Digest(body["checkpoint"])
        body["parents"] = tuple(Digest(parent) for parent in body["parents"])
        return cls(**body)

    def metric(self, name: str) -> float | None:
        """The metric ``name`` as a float, or None where it is absent or not a number (NaN)."""
        value = self.metrics.get(name)
        return None if value is None or math.isnan(value) else float(value)


def _check_size(data: bytes, where: str) -> None:
    if len(data) > MAX_COMMIT_BYTES:
        raise FormatError(f"{where} has up to {MAX_COMMIT_BYTES} bytes, not {len(data)}")


def _check_param(value: Any, name: str) -> None:
    """What has a canonical form but is not JSON-like (bytes, extensions) could not be shown or searched."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and not isinstance(value, canonical.Extension):
        for item in value:
            _check_param(item, name)
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise FormatError(f"param {name!r} has a {type(value).__name__}; it needs what JSON has")
