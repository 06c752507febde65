"""The tables: what the index knows about a store.

Every row is a fact read from one stored object, keyed so that the same facts
give the same rows in whatever order they arrive; that is why a rebuilt index
equals the one it replaces. The types exist in SQLite and PostgreSQL alike. A
change here needs a new file in migrations/versions; a test holds the two equal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

__all__ = [
    "TABLES",
    "VERSION_TABLE",
    "blobs",
    "checkpoints",
    "chunks",
    "commit_parents",
    "commits",
    "metadata",
    "metrics",
    "packs",
    "params",
    "refs",
    "stores",
]

VERSION_TABLE = "cas_schema_version"

metadata = MetaData()


def _digest(name: str, *constraints: ForeignKey, primary_key: bool = False, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(32), *constraints, primary_key=primary_key, nullable=nullable)


# One row: which store all other rows are about. Another store's have-list would be a lie.
stores = Table(
    "stores",
    metadata,
    Column("id", Text, primary_key=True),
)

# A pack is what gc condemns, so the generation in which its chunks were known to be there stands here, once.
packs = Table(
    "packs",
    metadata,
    Column("id", Integer, primary_key=True),  # local to this database: 4 bytes in each chunk's row, not 32
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
)

# One row for each place a chunk lies in, not one for each chunk: a set of facts needs no rule about which to keep.
chunks = Table(
    "chunks",
    metadata,
    _digest("digest", primary_key=True),
    Column("pack", Integer, ForeignKey("packs.id"), primary_key=True),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("stored_bytes", Integer, nullable=False),
    Column("raw_bytes", Integer, nullable=False),
    Column("codec", Integer, nullable=False),
    _digest("base", nullable=True),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _digest("hash", primary_key=True),
    Column("file_count", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The least of all checkpoints that hold the blob: any manifest of them has its recipe.
blobs = Table(
    "blobs",
    metadata,
    _digest("digest", primary_key=True),
    _digest("checkpoint", ForeignKey("checkpoints.hash")),
    sqlite_with_rowid=False,
)

# ``encoded`` is the truth and gives the commit back; the other columns are there to be searched.
commits = Table(
    "commits",
    metadata,
    _digest("id", primary_key=True),
    _digest("checkpoint"),  # no foreign key: a commit may be learnt before its checkpoint
    Column("time_us", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("trial", Text, nullable=False),
    Column("step", BigInteger),
    Column("encoded", LargeBinary, nullable=False),
    Index("commits_by_checkpoint", "checkpoint"),
    Index("commits_by_time", "time_us"),
    Index("commits_by_run", "run", "trial", "time_us"),
)

commit_parents = Table(
    "commit_parents",
    metadata,
    _digest("commit", ForeignKey("commits.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _digest("parent"),
    Index("commit_parents_by_parent", "parent"),
    sqlite_with_rowid=False,
)

metrics = Table(
    "metrics",
    metadata,
    _digest("commit", ForeignKey("commits.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Double),  # NULL for NaN, which SQLite cannot hold and nobody can rank
    Index("metrics_by_value", "name", "value"),
    sqlite_with_rowid=False,
)

params = Table(
    "params",
    metadata,
    _digest("commit", ForeignKey("commits.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value_text", Text, nullable=False),  # JSON
    Column("value_number", Double),  # NULL for what is not a number
    Column("value_string", Text),  # NULL for what is not text
    Index("params_by_number", "name", "value_number"),
    sqlite_with_rowid=False,
)

# The record of the highest sequence seen; one without a commit says that the name was deleted.
refs = Table(
    "refs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    _digest("commit", nullable=True),
    sqlite_with_rowid=False,
)

TABLES: tuple[Table, ...] = tuple(metadata.sorted_tables)
