"""Commands about history: log, refs, tag, best."""

from __future__ import annotations

import click

from cas.cli.context import Context, shared_options
from cas.cli.render import SHORT, commit_json, plain_time, table
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


_HEADER = ["hash", "commit", "time (UTC)", "run", "step", "metrics", "message"]


@click.command()
@click.argument("rev", metavar="[REF]", required=False)
@click.option("--run", help="Only this run's.")
@click.option("--trial", help="Only this trial's.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@shared_options
def log(context: Context, rev: str | None, run: str | None, trial: str | None, limit: int) -> None:
    """List commits, newest first: those that lead to REF, or all."""
    with context.open() as store:
        commits = store.log(rev, run=run, trial=trial, limit=limit)
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
@click.option("--run", help="Only this run's.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@shared_options
def best(context: Context, metric: str, minimize: bool, run: str | None, limit: int) -> None:
    """Print the commit with the lowest METRIC, or the highest with --max."""
    with context.open() as store:
        found = store.best(metric, maximize=not minimize, run=run, limit=limit)
    context.emit(
        {"metric": metric, "commits": [commit_json(commit) for commit in found]},
        table([_row(commit) for commit in found], _HEADER),
    )


COMMANDS = (log, refs, tag, best)
