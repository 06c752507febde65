"""Commits and refs: stored whole, and spread into columns to be searched.

A commit comes back from its own canonical bytes, so every type is exact; the
columns beside them serve searches only and may round (a metric to a double) or
shorten (a name longer than an index allows).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, insert, literal, select, update

from cas.format import Commit, Digest, RefRecord
from cas.index.rows import bounded, insert_new
from cas.index.schema import commit_parents, commits, metrics, params, refs
from cas.index.values import index_name, param_columns, storable

__all__ = ["add_commit", "best", "commits_of", "find_commit", "log", "ref_sequences", "refs_now", "set_ref"]


def add_commit(connection: Connection, commit: Commit) -> None:
    """Learn of a commit."""
    key = commit.id.raw
    step = None if commit.step is None else bounded(commit.step)
    row = (
        key, commit.checkpoint.raw, bounded(commit.time_us), storable(commit.author), storable(commit.message),
        index_name(commit.run), index_name(commit.trial), step, commit.encode(),
    )  # fmt: skip
    insert_new(connection, commits, [row])
    insert_new(connection, commit_parents, [(key, at, parent.raw) for at, parent in enumerate(commit.parents)])
    insert_new(connection, metrics, [(key, index_name(name), commit.metric(name)) for name in commit.metrics])
    insert_new(connection, params, [(key, name, *columns) for name, columns in param_columns(commit.params).items()])


def find_commit(connection: Connection, commit: Digest) -> Commit | None:
    """The commit of that id, or None."""
    found = _read(connection, _select().where(commits.c.id == commit.raw))
    return found[0] if found else None


def commits_of(connection: Connection, checkpoint: Digest) -> list[Commit]:
    """All commits of a checkpoint, newest first."""
    return _read(connection, _newest_first(_select().where(commits.c.checkpoint == checkpoint.raw)))


def log(
    connection: Connection,
    run: str | None,
    trial: str | None,
    limit: int | None,
    where: ColumnElement[bool] | None = None,
    tip: Digest | None = None,
) -> list[Commit]:
    """Commits, newest first; of one run or trial, those that a condition holds for, those that lead to ``tip``."""
    query = _narrowed(_select(), run, trial, where)
    if tip is None:
        return _read(connection, _newest_first(query).limit(limit))
    first = select(literal(tip.raw, commits.c.id.type).label("id"), literal(0).label("depth"))
    line = first.cte("line", recursive=True)
    parents = select(commit_parents.c.parent, line.c.depth + 1).join(line, commit_parents.c.commit == line.c.id)
    line = line.union_all(parents.where(commit_parents.c.position == 0))
    return _read(connection, query.join(line, line.c.id == commits.c.id).order_by(line.c.depth).limit(limit))


def best(
    connection: Connection,
    metric: str,
    maximize: bool,
    run: str | None,
    limit: int | None,
    trial: str | None = None,
    where: ColumnElement[bool] | None = None,
) -> list[tuple[Commit, float]]:
    """Commits by their value of ``metric``, the best first; of equals the oldest first."""
    query: Select[Any] = (
        select(commits.c.id, commits.c.encoded, metrics.c.value)
        .join(metrics)
        .where(metrics.c.name == index_name(metric), metrics.c.value.is_not(None))
    )
    query = _narrowed(query, run, trial, where)
    order: ColumnElement[Any] = metrics.c.value.desc() if maximize else metrics.c.value.asc()
    rows = connection.execute(query.order_by(order, commits.c.time_us, commits.c.id).limit(limit))
    return [(_decode(raw, encoded), value) for raw, encoded, value in rows]


def set_ref(connection: Connection, record: RefRecord) -> None:
    """Learn of a move of a ref; a later one that is known already stands."""
    values = {"sequence": record.sequence, "commit": record.commit.raw if record.commit else None}
    known = connection.scalar(select(refs.c.sequence).where(refs.c.name == record.name))
    if known is None:
        connection.execute(insert(refs).values(name=record.name, **values))
    elif known < record.sequence:
        connection.execute(update(refs).where(refs.c.name == record.name).values(values))


def refs_now(connection: Connection) -> dict[str, Digest]:
    """Every ref that is not deleted and the commit it points at, in order of names."""
    rows = connection.execute(select(refs.c.name, refs.c.commit).where(refs.c.commit.is_not(None)))
    return {name: Digest(commit) for name, commit in sorted(tuple(row) for row in rows)}


def ref_sequences(connection: Connection) -> dict[str, int]:
    """The highest sequence known of every ref, deleted ones included."""
    return {row.name: row.sequence for row in connection.execute(select(refs.c.name, refs.c.sequence))}


def _select() -> Select[Any]:
    return select(commits.c.id, commits.c.encoded)


def _narrowed(query: Select[Any], run: str | None, trial: str | None, where: ColumnElement[bool] | None) -> Select[Any]:
    if run is not None:
        query = query.where(commits.c.run == index_name(run))
    if trial is not None:
        query = query.where(commits.c.trial == index_name(trial))
    return query if where is None else query.where(where)


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(commits.c.time_us.desc(), commits.c.id.desc())


def _read(connection: Connection, query: Select[Any]) -> list[Commit]:
    return [_decode(raw, encoded) for raw, encoded in connection.execute(query)]


def _decode(raw: bytes, encoded: bytes) -> Commit:
    digest = Digest(raw)
    return Commit.decode(encoded, digest, f"commit {digest} in the index")
