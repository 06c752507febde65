"""The repository: open a store by URL, write to it, read from it, move its refs."""

from cas.repository.locate import cache_dir, locate_store
from cas.repository.reader import Reader
from cas.repository.refs import DETACHED
from cas.repository.repository import PutResult, Repository
from cas.repository.revisions import Revision
from cas.repository.source import BytesSource, ReadAt, Source

__all__ = [
    "DETACHED",
    "BytesSource",
    "PutResult",
    "ReadAt",
    "Reader",
    "Repository",
    "Revision",
    "Source",
    "cache_dir",
    "locate_store",
]
