"""Commands about history: log, refs, tag, best."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from cas.cli.context import Context, F, shared_options
from cas.cli.render import SHORT, commit_json, plain_time, table
from cas.errors import FormatError
from cas.format import Commit

__all__ = ["COMMANDS"]


def _row(commit: Commit) -> list[str]:
    where = "/".join(part for part in (commit.run, commit.trial) if part)
    numbers = " ".join(f"{name}={value:.6g}" for name, value in sorted(commit.metrics.items()))
    step = "" if commit.step is None else str(commit.step)
    return [
        str(commit.checkpoint)[:SHORT], str(commit.id)[:SHORT], plain_time(commit.time_us), where, step, numbers,
        commit.message.partition("\n")[0],
    ]  # fmt: skip


_AGE = re.compile(r"(\d{1,6})([smhdw])")
_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _time_search(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """The search that ``--since`` or ``--until`` stands for."""
    if value is None:
        return None
    try:
        if age := _AGE.fullmatch(value):
            time = datetime.now(UTC) - timedelta(**{_AGE_UNITS[age[2]]: int(age[1])})
        else:
            time = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise FormatError(
            f"{option.opts[0]} {value!r} is no time: write it as 2026-11-23 or '2026-11-23 21:00' (UTC), "
            "or as an age: 90s, 30m, 12h, 7d, 2w"
        ) from None
    return f'time {">=" if option.name == "since" else "<="} "{time.isoformat()}"'


def _narrowing_options(function: F) -> F:
    """Let a command take ``--run``, ``--trial``, ``--where``, ``--since`` and ``--until``."""
    decorators = (
        click.option("--run", help="Only this run's."),
        click.option("--trial", help="Only this trial's."),
        click.option("-w", "--where", metavar="SEARCH", multiple=True,
                     help="Only those that this is true of, such as 'metrics.loss < 0.1 and params.lr >= 1e-4'. "
                     "Given several times, all must be."),
        click.option("--since", metavar="TIME", callback=_time_search,
                     help="Only from then on: a time, or an age such as 7d."),
        click.option("--until", metavar="TIME", callback=_time_search, help="Only up to then."),
    )  # fmt: skip
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


_HEADER = ["hash", "commit", "time (UTC)", "run", "step", "metrics", "message"]


@click.command()
@click.argument("rev", metavar="[REF]", required=False)
@_narrowing_options
@click.option("-n", "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@shared_options
def log(
    context: Context,
    rev: str | None,
    run: str | None,
    trial: str | None,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int,
) -> None:
    """List commits, newest first: those that lead to REF, or all."""
    searches = [*where, *filter(None, (since, until))]
    with context.open() as store:
        commits = store.log(rev, run=run, trial=trial, where=searches, limit=limit)
    context.emit(
        {"commits": [commit_json(commit) for commit in commits]},
        table([_row(commit) for commit in commits], _HEADER) if commits else "",
    )


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also the refs of commits that nobody named.")
@shared_options
def refs(context: Context, everything: bool) -> None:
    """List names and the commits they point at."""
    with context.open() as store:
        found = store.refs(everything=everything)
    context.emit(
        {"refs": [{"name": name, "commit": str(commit)} for name, commit in found.items()]},
        "\n".join(f"{commit}  {name}" for name, commit in found.items()),
    )


@click.command()
@click.argument("name")
@click.argument("rev", required=False)
@click.option("-d", "--delete", is_flag=True, help="Delete NAME; what it pointed at stays until it is pruned.")
@click.option("-f", "--force", is_flag=True, help="Move NAME if it exists.")
@shared_options
def tag(context: Context, name: str, rev: str | None, delete: bool, force: bool) -> None:
    """Give REV the name NAME."""
    if delete == (rev is not None):
        raise click.UsageError("give NAME REV, or --delete NAME")
    with context.open() as store:
        commit = None
        if rev is None:
            store.delete_ref(name)
        else:
            commit = store.tag(name, rev, force=force)
    context.emit({"name": name, "commit": None if commit is None else str(commit)})


@click.command()
@click.argument("metric")
@click.option("--min/--max", "minimize", default=True, help="Which end is best; the lowest by default.")
@_narrowing_options
@click.option("-n", "--limit", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@shared_options
def best(
    context: Context,
    metric: str,
    minimize: bool,
    run: str | None,
    trial: str | None,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int,
) -> None:
    """Print the commit with the lowest METRIC, or the highest with --max."""
    searches = [*where, *filter(None, (since, until))]
    with context.open() as store:
        found = store.best(metric, maximize=not minimize, run=run, trial=trial, where=searches, limit=limit)
    context.emit(
        {"metric": metric, "commits": [commit_json(commit) for commit in found]},
        table([_row(commit) for commit in found], _HEADER),
    )


COMMANDS = (log, refs, tag, best)
