"""Where a store's objects lie: a folder, a bucket, a process's memory, any fsspec URL.

`Storage` says what each promises, `open_storage` finds the one that a URL names.
Why it is so: docs/design/004-storage.md.
"""

from cas.storage.base import ObjectInfo, Storage
from cas.storage.leftovers import foreign_names
from cas.storage.local import LocalStorage
from cas.storage.memory import MemoryStorage
from cas.storage.probe import probe_exclusive_create, require_exclusive_create
from cas.storage.redaction import redact
from cas.storage.retry import RetryingStorage, RetryPolicy
from cas.storage.upload import Upload
from cas.storage.urls import open_storage

__all__ = [
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "RetryPolicy",
    "RetryingStorage",
    "Storage",
    "Upload",
    "foreign_names",
    "open_storage",
    "probe_exclusive_create",
    "redact",
    "require_exclusive_create",
]
