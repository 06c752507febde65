"""What kind of Checkpoint a content is: its class, and the attributes that the class wants to travel along.

Both stand in one small file of the content, so that they survive every view. The class is a name and
nothing else: it is looked up among the subclasses of `Checkpoint` that this process has, and those that cas
brings. Nothing is imported because data say so.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.checkpoint.skeleton import decode_skeleton, encode_skeleton
from cas.errors import FormatError
from cas.format import Buffer

if TYPE_CHECKING:
    from cas.checkpoint.checkpoint import Checkpoint
    from cas.checkpoint.references import FileRef, Place, TensorRef

__all__ = ["KIND_PATH", "MAX_KIND_BYTES", "Kind", "class_name", "more_derived"]

KIND_PATH = "cas-checkpoint.msgpack"
MAX_KIND_BYTES = 4 << 20
"""A file of that name that is larger is not ours, and is left alone."""

_OWN_PACKAGE = "cas.checkpoint.frameworks."


@dataclass(frozen=True, slots=True)
class Kind:
    """A content's class and attributes.

    Attributes:
        class_name: module and qualified name, as `class_name` gives it.
        attributes: plain values by name.
    """

    class_name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The file's bytes: a dict's skeleton (docs/design/008-dict-trees.md) of two keys.

        Raises:
            FormatError: an attribute is no plain value; the message names it.
        """

        def refuse(value: object, place: Place) -> TensorRef | FileRef:
            raise FormatError(
                f"attribute {place[1]!r} of {self.class_name} is a {type(value).__name__}, and only plain values"
                " travel with a checkpoint;\nput arrays into its content"
            )

        return encode_skeleton({"class": self.class_name, "attributes": dict(self.attributes)}, refuse)

    @classmethod
    def decode(cls, data: Buffer) -> Kind:
        """Read `encode`'s bytes. FormatError if they are something else."""

        def refuse(reference: TensorRef | FileRef, place: Place) -> Any:
            raise FormatError(f"{KIND_PATH} refers to a file, which it never does")

        match decode_skeleton(data, refuse, KIND_PATH):
            case {"class": str(name), "attributes": dict(attributes), **others} if not others:
                if all(isinstance(key, str) for key in attributes):
                    return cls(name, attributes)
        raise FormatError(f"{KIND_PATH} is not what cas writes there")

    def find_class(self, base: type[Checkpoint]) -> type[Checkpoint] | None:
        """The class of that name, or None if this process knows none."""
        module, _, _ = self.class_name.partition(":")
        if module.startswith(_OWN_PACKAGE) and module.removeprefix(_OWN_PACKAGE).isidentifier():
            try:
                importlib.import_module(module)  # cas's own modules import no framework before it is needed
            except ModuleNotFoundError:
                return None
        return next((kind for kind in _subclasses(base) if class_name(kind) == self.class_name), None)


def class_name(kind: type) -> str:
    """What a class is called in a checkpoint."""
    return f"{kind.__module__}:{kind.__qualname__}"


def more_derived(reader: type[Checkpoint], stored: type[Checkpoint]) -> type[Checkpoint]:
    """Of the class that reads and the one that was stored, the one that is a subclass of the other.

    Raises:
        ValueError: neither is (a FormatError, which is one).
    """
    if issubclass(stored, reader):
        return stored
    if issubclass(reader, stored):
        return reader
    raise FormatError(
        f"this is a {stored.__name__}, which is no {reader.__name__}; read it as {stored.__name__}, or convert it by"
        f" {reader.__name__}.from_checkpoint(...)"
    )


def _subclasses(base: type[Checkpoint]) -> Iterator[type[Checkpoint]]:
    yield base
    for kind in base.__subclasses__():
        yield from _subclasses(kind)
