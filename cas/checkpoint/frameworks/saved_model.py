"""What a TensorFlow SavedModel may do: a filter before it is loaded.

A SavedModel is a program. TensorFlow runs parts of it while it loads, with the rights of the process, and operations
that read and write any file or call Python are ordinary ones. Here those are let through that compute and nothing
else, and the few with effects inside the process, or inside the SavedModel's own variables, that exported models are
made of. What is not known to be one of these needs a permission.

The filter is no sandbox: the saver in every SavedModel writes files of variables where a caller of it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cas.checkpoint.extras import require
from cas.errors import FormatError
from cas.format import Buffer

__all__ = ["GRAPH_PATH", "effects"]

GRAPH_PATH = "saved_model.pb"

# TensorFlow calls an operation stateful if running it twice is not running it once. These stay inside the process.
_CONTAINED = frozenset({
    "Assert", "Case", "If", "While", "StatefulPartitionedCall",
    "VarHandleOp", "VarIsInitializedOp", "ReadVariableOp", "AssignVariableOp", "AssignAddVariableOp",
    "AssignSubVariableOp", "DestroyResourceOp", "DisableCopyOnRead", "ResourceGather", "ResourceGatherNd",
    "ResourceScatterAdd", "ResourceScatterNdUpdate", "ResourceScatterUpdate", "VariableShape",
    "AnonymousHashTable", "HashTableV2", "MutableHashTableV2", "InitializeTableV2", "LookupTableExportV2",
    "LookupTableFindV2", "LookupTableImportV2", "LookupTableInsertV2", "LookupTableSizeV2",
    "Multinomial", "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal",
    "RngReadAndSkip", "RngSkip", "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniform",
    "StatefulUniformFullInt", "StatefulUniformInt",
    "TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3", "TensorArraySizeV3", "TensorArrayV3",
    "TensorArrayWriteV3",
    # The saver: reads and writes the SavedModel's variables.
    "MergeV2Checkpoints", "RestoreV2", "SaveV2",
})  # fmt: skip

# Not stateful to TensorFlow, and yet they reach files, Python or other processes.
_REACHING = frozenset({"GenerateVocabRemapping", "MatchingFiles", "PyFuncStateless", "ReadFile"})
_REACHING_FAMILIES = ("Dataset", "Debug")


def effects(graph: Buffer) -> list[str]:
    """The operations of a SavedModel that may reach beyond the process, or that this TensorFlow does not know.

    Args:
        graph: its file ``saved_model.pb``.

    Raises:
        FormatError: it is no such file.
        RefusedError: TensorFlow is not installed.
    """
    purpose = "a SavedModel"
    schema = require("tensorflow.core.protobuf.saved_model_pb2", "tensorflow", purpose)
    registry = require("tensorflow.python.framework.op_def_registry", "tensorflow", purpose)
    try:
        model = schema.SavedModel.FromString(bytes(graph))
    except Exception as error:  # protobuf's DecodeError, which older versions have elsewhere
        raise FormatError(f"{GRAPH_PATH} is no SavedModel: {error}") from error
    own = {function.signature.name for meta in model.meta_graphs for function in meta.graph_def.library.function}
    return sorted(name for name in set(_operations(model)) - own if not _is_contained(name, registry.get(name)))


def _operations(model: Any) -> Iterator[str]:
    for meta in model.meta_graphs:
        yield from (node.op for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            yield from (node.op for node in function.node_def)


def _is_contained(name: str, definition: Any | None) -> bool:
    if definition is None or name in _REACHING:
        return False
    if any(family in name for family in _REACHING_FAMILIES):
        return False
    return name in _CONTAINED or not definition.is_stateful
