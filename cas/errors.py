"""Every error cas raises on purpose, grouped by what the caller does next.

Each class keeps what it was told in ``args``, so that it survives pickling to
another process, and has one CLI exit code (``exit_code``; listed in README.md).
A message is one or two lines: what was wrong with which thing, and the way out.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CasError",
    "ConflictError",
    "CorruptError",
    "FormatError",
    "NotFoundError",
    "RefusedError",
    "StorageError",
]


class CasError(Exception):
    """Root of every error that cas raises on purpose."""

    exit_code: ClassVar[int] = 1


class NotFoundError(CasError, KeyError):
    """The thing named does not exist. Check the name, or look elsewhere."""

    exit_code = 3

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0]) if self.args else "not found"


class FormatError(CasError, ValueError):
    """Input is not in a form that cas accepts: malformed, of another kind or a newer version."""

    exit_code = 4


class CorruptError(CasError):
    """Bytes read do not hash to their name. Retrying cannot help; repair may."""

    exit_code = 5

    def __init__(self, expected: object, actual: object, where: str) -> None:
        super().__init__(str(expected), str(actual), where)
        self.expected, self.actual, self.where = str(expected), str(actual), where

    def __str__(self) -> str:
        more = "see what else is by `cas fsck --read-data`"
        return f"{self.where} is corrupt: expected {self.expected}, read {self.actual}; {more}"


class ConflictError(CasError):
    """Somebody else got there first: the name is taken or has moved. Look again, then retry."""

    exit_code = 6


class RefusedError(CasError):
    """cas will not do this because it could harm, or because a permission or a promise is missing."""

    exit_code = 7


class StorageError(CasError, OSError):
    """The disk, network or server failed.

    Attributes:
        transient: whether trying again may succeed (time-out, 503) or not (no space, no permission).
    """

    exit_code = 8

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message, transient)
        self.message, self.transient = message, transient

    def __str__(self) -> str:
        return self.message
