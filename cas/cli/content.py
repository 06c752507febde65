"""Commands about content: put, ls, show, cat, diff."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from cas.cli.context import Context, shared_options
from cas.cli.render import commit_json, plain_size, plain_time

__all__ = ["COMMANDS"]


def _pairs(values: tuple[str, ...], what: str) -> dict[str, str]:
    pairs = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{what} needs NAME=VALUE, not {text!r}")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> int | float:
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    raise click.UsageError(f"--metric {name}={text}: the value is not a number")


def _param(text: str) -> Any:
    """A parameter's value as JSON where it is JSON (numbers, true, lists), else the text itself."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--ref", metavar="NAME", help="The name to move to the new commit.")
@click.option(
    "--parent", "parents", metavar="REV", multiple=True, help="What it was trained from; else the ref's last commit."
)
@click.option("-m", "--message", default="", metavar="MSG", help="Why.")
@click.option("--metric", "metrics", multiple=True, metavar="K=V", help="A measured number; may be given many times.")
@click.option(
    "--param", "params", multiple=True, metavar="K=V", help="A chosen value, as JSON or text; may be given many times."
)
@click.option("--run", default="", help="The experiment it belongs to.")
@click.option("--trial", default="", help="The trial of that experiment.")
@click.option("--step", type=int, help="The training step.")
@click.option("--follow-symlinks", is_flag=True, help="Store what symlinks inside the directory point to.")
@shared_options
def put(context: Context, path: Path, ref: str | None, parents: tuple[str, ...], message: str, metrics: tuple[str, ...],
        params: tuple[str, ...], run: str, trial: str, step: int | None, follow_symlinks: bool) -> None:  # fmt: skip
    """Store the directory PATH and print its hash."""
    numbers = {name: _number(name, text) for name, text in _pairs(metrics, "--metric").items()}
    values = {name: _param(text) for name, text in _pairs(params, "--param").items()}
    with context.open() as store:
        result = store.put(
            path, ref=ref, parents=parents, message=message, metrics=numbers, params=values, run=run, trial=trial,
            step=step, follow_symlinks=follow_symlinks, progress=context.progress(),
        )  # fmt: skip
    context.emit(
        {
            "hash": str(result.checkpoint),
            "commit": str(result.commit.id),
            "ref": result.ref,
            "files": result.files,
            "logical_bytes": result.logical_bytes,
            "new_bytes": result.new_bytes,
            "stored_bytes": result.stored_bytes,
        },
        str(result.checkpoint),
    )
    if context.verbosity > 0:
        context.note(
            f"{result.files} files, {plain_size(result.logical_bytes)}: {plain_size(result.new_bytes)} new, "
            f"{plain_size(result.stored_bytes)} stored; commit {result.commit.id}"
        )


@click.command()
@click.argument("rev")
@shared_options
def ls(context: Context, rev: str) -> None:
    """List the files of REV: size, blob digest, path."""
    with context.open() as store:
        tree = store.tree(rev)
    rows = [
        {"path": e.path, "size_bytes": e.size_bytes, "executable": e.executable, "blob": str(e.blob)}
        for e in tree.files
    ]
    context.emit(
        {"hash": str(tree.hash), "files": rows, "empty_directories": list(tree.empty_directories)},
        "\n".join(
            [f"{entry.size_bytes:>14}  {entry.blob}  {entry.path}" for entry in tree.files]
            + [f"{'-':>14}  {'-' * 64}  {path}/" for path in tree.empty_directories]
        ),
    )


@click.command()
@click.argument("rev")
@shared_options
def show(context: Context, rev: str) -> None:
    """Show what is known about REV."""
    with context.open() as store:
        found = store.resolve(rev)
        tree = store.tree(rev)
        commits = [found.commit] if found.commit else store.commits_of(found.checkpoint)
    value = {
        "hash": str(tree.hash),
        "files": len(tree.files),
        "logical_bytes": tree.size_bytes,
        "commits": [commit_json(commit) for commit in commits],
    }
    lines = [f"checkpoint {tree.hash}", f"{len(tree.files)} files, {plain_size(tree.size_bytes)}"]
    for commit in commits:
        lines += ["", f"commit {commit.id}", *(f"parent {parent}" for parent in commit.parents)]
        said = {
            "time": plain_time(commit.time_us) + " UTC", "author": commit.author, "run": commit.run,
            "trial": commit.trial, "step": commit.step, "message": commit.message,
        }  # fmt: skip
        lines += [f"{name:<8}{text}" for name, text in said.items() if text not in ("", None)]
        lines += [f"metric {name} = {number}" for name, number in sorted(commit.metrics.items())]
        lines += [f"param  {name} = {number}" for name, number in sorted(commit.params.items())]
    context.emit(value, "\n".join(lines))


@click.command()
@click.argument("place", metavar="REV:PATH")
@shared_options
def cat(context: Context, place: str) -> None:
    """Write one file of a checkpoint to stdout."""
    rev, colon, path = place.partition(":")
    if not (rev and colon and path):
        raise click.UsageError(f"give REV:PATH, not {place!r}")
    out = sys.stdout.buffer
    with context.open() as store:
        for piece in store.iter_file(rev, path):
            out.write(piece)
    out.flush()


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@shared_options
def diff(context: Context, a: str, b: str) -> None:
    """List the files that differ between two REVs: A added, D deleted, M modified, X mode."""
    with context.open() as store:
        old = {entry.path: entry for entry in store.tree(a).files}
        new = {entry.path: entry for entry in store.tree(b).files}
    rows = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        status = "A" if before is None else "D" if after is None else "M" if before.blob != after.blob else "X"
        rows.append(
            {
                "status": status,
                "path": path,
                "old_bytes": before.size_bytes if before else None,
                "new_bytes": after.size_bytes if after else None,
                "old_blob": str(before.blob) if before else None,
                "new_blob": str(after.blob) if after else None,
            }
        )
    context.emit({"changes": rows}, "\n".join(f"{row['status']}  {row['path']}" for row in rows))


COMMANDS = (put, ls, show, cat, diff)
