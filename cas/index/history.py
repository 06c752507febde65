"""Commits and refs: stored whole, and spread into columns to be searched.

A commit comes back from its own canonical bytes, so every type is exact; the
columns beside them serve searches only and may round (a metric to a double) or
shorten (a name longer than an index allows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, literal, select, update

from cas.format import Commit, Digest, RefRecord
from cas.index.rows import bounded, by_raw, insert_new, parameter_mark, select_in
from cas.index.schema import commit_parents, commits, metrics, params, refs
from cas.index.values import index_name, param_columns, storable

__all__ = [
    "add_commits",
    "best",
    "commits_of",
    "find_commit",
    "follow",
    "has_child",
    "known_commits",
    "log",
    "ref_sequence",
    "ref_sequences",
    "refs_now",
    "set_refs",
]

_FIND_REFS = "SELECT name, sequence FROM refs WHERE name IN"
_MOVE_REF = update(refs).where(refs.c.name == bindparam("known"))
_FIND_COMMITS = "SELECT id FROM commits WHERE id IN"
_COMMITS_AT_ONCE = 32  # one may have 16 MiB, and PostgreSQL takes 1 GiB in one array


def add_commits(connection: Connection, found: Sequence[Commit]) -> None:
    """Learn of commits."""
    for start in range(0, len(found), _COMMITS_AT_ONCE):
        some = found[start : start + _COMMITS_AT_ONCE]
        insert_new(connection, commits, [_row(commit) for commit in some])
        insert_new(
            connection, commit_parents,
            [(commit.id.raw, at, parent.raw) for commit in some for at, parent in enumerate(commit.parents)],
        )  # fmt: skip
        insert_new(
            connection, metrics,
            [(commit.id.raw, index_name(name), commit.metric(name)) for commit in some for name in commit.metrics],
        )  # fmt: skip
        insert_new(
            connection, params,
            [(commit.id.raw, name, *columns)
             for commit in some for name, columns in param_columns(commit.params).items()],
        )  # fmt: skip


def _row(commit: Commit) -> tuple[object, ...]:
    step = None if commit.step is None else bounded(commit.step)
    return (
        commit.id.raw, commit.checkpoint.raw, bounded(commit.time_us), storable(commit.author),
        storable(commit.message), index_name(commit.run), index_name(commit.trial), step, commit.encode(),
    )  # fmt: skip


def follow(connection: Connection, record: RefRecord, commit: Commit | None) -> bool:
    """Learn of a ref's move and of the commit made for it, if all that comes before is known; else of nothing."""
    mark = parameter_mark(connection)
    builds_on = commit.parents if commit is not None else [record.commit] if record.commit is not None else []
    marks = ", ".join([mark] * len(builds_on)) or "NULL"
    sequence, checkpoint_known, commits_known = connection.exec_driver_sql(
        f"SELECT (SELECT sequence FROM refs WHERE name = {mark}),"
        f" (SELECT count(*) FROM checkpoints WHERE hash = {mark}),"
        f" (SELECT count(*) FROM commits WHERE id IN ({marks}))",
        (record.name, commit.checkpoint.raw if commit else None, *(digest.raw for digest in builds_on)),
    ).one()
    if (sequence or 0) >= record.sequence:
        return True
    if (sequence or 0) + 1 != record.sequence or commits_known < len(builds_on):
        return False
    if commit is not None:
        if not checkpoint_known:
            return False
        add_commits(connection, [commit])
    set_refs(connection, [record])
    return True


def known_commits(connection: Connection, wanted: Iterable[Digest | bytes]) -> set[Digest]:
    """Those of the commits that are known."""
    digests = by_raw(wanted)
    return {digests[raw] for (raw,) in select_in(connection, _FIND_COMMITS, digests)}


def has_child(connection: Connection, commit: Digest) -> bool:
    """Whether a commit is known that came from this one."""
    found = select(literal(1)).where(commit_parents.c.parent == commit.raw).limit(1)
    return connection.execute(found).first() is not None


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


def set_refs(connection: Connection, records: Iterable[RefRecord]) -> None:
    """Learn of moves of refs; later ones that are known already stand."""
    highest = {record.name: record for record in sorted(records, key=lambda record: record.sequence)}
    known = {row[0]: row[1] for row in select_in(connection, _FIND_REFS, highest)}
    later = [record for name, record in highest.items() if known.get(name, 0) < record.sequence]
    insert_new(connection, refs, [(r.name, r.sequence, _raw(r.commit)) for r in later if r.name not in known])
    if moved := [r for r in later if r.name in known]:
        rows = [{"known": r.name, "sequence": r.sequence, "commit": _raw(r.commit)} for r in moved]
        connection.execute(_MOVE_REF, rows)


def _raw(digest: Digest | None) -> bytes | None:
    return None if digest is None else digest.raw


def refs_now(connection: Connection) -> dict[str, Digest]:
    """Every ref that is not deleted and the commit it points at, in order of names."""
    rows = connection.execute(select(refs.c.name, refs.c.commit).where(refs.c.commit.is_not(None)))
    return {name: Digest(commit) for name, commit in sorted(tuple(row) for row in rows)}


def ref_sequence(connection: Connection, name: str) -> int:
    """The highest sequence known of a ref, 0 for one that is not known."""
    return connection.scalar(select(refs.c.sequence).where(refs.c.name == name)) or 0


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
