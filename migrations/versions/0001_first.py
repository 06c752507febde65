"""The first schema: packs and chunks, checkpoints and blobs, commits, metrics, params and refs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table("stores", sa.Column("id", sa.Text, primary_key=True))
    op.create_table(
        "packs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chunks",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("pack", sa.Integer, sa.ForeignKey("packs.id"), primary_key=True),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.Integer, nullable=False),
        sa.Column("raw_bytes", sa.Integer, nullable=False),
        sa.Column("codec", sa.Integer, nullable=False),
        sa.Column("base", sa.LargeBinary(32)),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("file_count", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("checkpoint", sa.LargeBinary(32), sa.ForeignKey("checkpoints.hash"), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "commits",
        sa.Column("id", sa.LargeBinary(32), primary_key=True),
        sa.Column("checkpoint", sa.LargeBinary(32), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("trial", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger),
        sa.Column("encoded", sa.LargeBinary, nullable=False),
    )
    op.create_index("commits_by_checkpoint", "commits", ["checkpoint"])
    op.create_index("commits_by_time", "commits", ["time_us"])
    op.create_index("commits_by_run", "commits", ["run", "trial", "time_us"])
    op.create_table(
        "commit_parents",
        sa.Column("commit", sa.LargeBinary(32), sa.ForeignKey("commits.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("parent", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("commit_parents_by_parent", "commit_parents", ["parent"])
    op.create_table(
        "metrics",
        sa.Column("commit", sa.LargeBinary(32), sa.ForeignKey("commits.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_index("metrics_by_value", "metrics", ["name", "value"])
    op.create_table(
        "params",
        sa.Column("commit", sa.LargeBinary(32), sa.ForeignKey("commits.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value_text", sa.Text, nullable=False),
        sa.Column("value_number", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_index("params_by_number", "params", ["name", "value_number"])
    op.create_table(
        "refs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("commit", sa.LargeBinary(32)),
        sqlite_with_rowid=False,
    )
