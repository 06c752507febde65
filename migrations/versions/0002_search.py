"""Params to search: texts in a column of their own, and what is inside dicts under its path.

The table is made anew from the commits' bytes, which are forever msgpack behind eight bytes of magic, with floats as
extension 1.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import msgpack
import sqlalchemy as sa
from alembic import op
from blake3 import blake3

revision = "0002"
down_revision = "0001"

_BATCH = 1000


def upgrade() -> None:
    """Replace the table ``params``."""
    op.drop_index("params_by_number", "params")
    op.drop_table("params")
    table = op.create_table(
        "params",
        sa.Column("commit", sa.LargeBinary(32), sa.ForeignKey("commits.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value_text", sa.Text, nullable=False),
        sa.Column("value_number", sa.Double),
        sa.Column("value_string", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("params_by_number", "params", ["name", "value_number"])
    commits = sa.table("commits", sa.column("id", sa.LargeBinary), sa.column("encoded", sa.LargeBinary))
    connection = op.get_bind()
    last = b""
    while batch := connection.execute(
        sa.select(commits).where(commits.c.id > last).order_by(commits.c.id).limit(_BATCH)
    ).all():
        rows = [
            {"commit": commit, "name": name, **columns}
            for commit, encoded in batch
            for name, columns in _spread(_params(encoded)).items()
        ]
        op.bulk_insert(table, rows)
        last = batch[-1][0]


def _params(encoded: bytes) -> dict[str, Any]:
    commit = msgpack.unpackb(encoded[8:], ext_hook=lambda _, data: struct.unpack(">d", data)[0])
    params: dict[str, Any] = commit["params"]
    return params


def _spread(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    level = sorted(params.items())
    while level:
        inner: list[tuple[str, Any]] = []
        for name, value in level:
            found.setdefault(_name(name), _columns(value))
            if isinstance(value, dict):
                inner += [(f"{name}.{key}", item) for key, item in sorted(value.items())]
        level = inner
    return found


def _columns(value: Any) -> dict[str, Any]:
    plain, number = _plain(value), None
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        number = float(value)
    string = _storable(plain) if isinstance(plain, str) and number is None else None
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True)
    return {"value_text": text, "value_number": number, "value_string": string}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _storable(text: str) -> str:
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def _name(text: str) -> str:
    stored = _storable(text)
    if len(text) <= 255 and stored == text:
        return text
    return f"{stored[:190]}…{blake3(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
