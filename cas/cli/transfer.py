"""Commands that move checkpoints between stores: pull, push, clone, remote."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cas.cli.context import Context, shared_options
from cas.cli.render import plain_size, table

if TYPE_CHECKING:
    from cas.transfer import Mirrored, Moved, Remotes

__all__ = ["COMMANDS"]


@click.command()
@click.argument("rev")
@click.argument("dest", required=False, type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="URL", help="Read from this store: a URL, or a remote's name.")
@click.option(
    "-f", "--force", is_flag=True, help="Replace files in DEST that differ; without DEST, move a ref that diverged."
)
@shared_options
def pull(context: Context, rev: str, dest: Path | None, source: str | None, force: bool) -> None:
    """Write the files of REV into DEST, or, without DEST, bring REV from another store into this one."""
    if dest is None and source is None:
        raise click.UsageError("give DEST, to write files there, or --from URL, to bring REV into this store")
    began_s = time.monotonic()
    if dest is None:
        with context.open() as store:
            moved = store.fetch(rev, source or "", force=force, progress=context.progress())
        _note_moved(context, moved, began_s)
        context.emit(moved.as_json(), str(moved.checkpoint))
        return
    with context.open(_remotes(context).locate(source) if source else None) as store:
        result = store.pull(rev, dest, overwrite=force, progress=context.progress())
    context.emit(
        {
            "hash": str(result.checkpoint),
            "path": str(dest),
            "files": result.files,
            "logical_bytes": result.logical_bytes,
            "written_bytes": result.written_bytes,
        },
        str(result.checkpoint),
    )


@click.command()
@click.argument("names", metavar="[REV] URL", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All refs, their history and their content, instead of REV.")
@click.option("-f", "--force", is_flag=True, help="Move refs that point at another history there.")
@shared_options
def push(context: Context, names: tuple[str, ...], everything: bool, force: bool) -> None:
    """Bring REV, or with --all everything, into the store at URL, or of that remote; only what it lacks moves."""
    if len(names) != (1 if everything else 2):
        raise click.UsageError("give REV and URL, or --all and URL")
    url = names[-1]
    began_s = time.monotonic()
    with context.open() as store:
        if everything:
            mirrored = store.push_all(url, force=force, progress=context.progress())
            _emit_mirrored(context, mirrored, began_s)
        else:
            moved = store.push(names[0], url, force=force, progress=context.progress())
            _note_moved(context, moved, began_s)
            context.emit(moved.as_json(), str(moved.checkpoint))


@click.command()
@click.argument("url")
@click.argument("directory", metavar="[DIR]", required=False)
@shared_options
def clone(context: Context, url: str, directory: str | None) -> None:
    """Make a store in DIR, or .cas, with everything that the store at URL has; its remote origin is URL."""
    from cas.checkpoint import Store

    began_s = time.monotonic()
    store, mirrored = Store.clone(url, directory, progress=context.progress())
    with store:
        _emit_mirrored(context, mirrored, began_s, url=store.url)


@click.group()
def remote() -> None:
    """Give other stores short names."""


@remote.command("add")
@click.argument("name")
@click.argument("url")
@shared_options
def remote_add(context: Context, name: str, url: str) -> None:
    """Let NAME stand for URL wherever a store to move to or from is named."""
    url = _remotes(context).add(name, url)
    context.emit({"name": name, "url": url})


@remote.command("list")
@shared_options
def remote_list(context: Context) -> None:
    """List the remotes of this store."""
    found = _remotes(context).names()
    context.emit(
        {"remotes": [{"name": name, "url": url} for name, url in found.items()]},
        "\n".join(f"{name}  {url}" for name, url in found.items()),
    )


@remote.command("remove")
@click.argument("name")
@shared_options
def remote_remove(context: Context, name: str) -> None:
    """Forget the remote NAME; the store at its URL stays as it is."""
    _remotes(context).remove(name)
    context.emit({"name": name, "url": None})


def _remotes(context: Context) -> Remotes:
    """Those of the store that is meant, without opening it: a pull needs no store of its own."""
    from cas.repository import locate_store
    from cas.transfer import Remotes

    return Remotes(locate_store(context.store_url))


def _emit_mirrored(context: Context, mirrored: Mirrored, began_s: float, **more: str) -> None:
    _note_moved(context, mirrored, began_s)
    rows = [
        ["refs", f"{mirrored.moved_refs} of {mirrored.refs} moved"],
        ["commits", f"{mirrored.commits} brought"],
        ["bytes", f"{mirrored.moved_bytes} moved"],
    ]
    context.emit(more | mirrored.as_json(), table(rows, ["what", "how many"]))


def _note_moved(context: Context, moved: Moved | Mirrored, began_s: float) -> None:
    """Say what the transfer cost and what was saved, to a person."""
    if context.verbosity > 0 or sys.stderr.isatty():
        took_s = max(time.monotonic() - began_s, 1e-3)
        rate = plain_size(moved.moved_bytes / took_s)
        there = plain_size(max(moved.logical_bytes - moved.new_bytes, 0))
        encoding = plain_size(max(moved.new_bytes - moved.moved_bytes, 0))
        context.note(
            f"moved {plain_size(moved.moved_bytes)} in {took_s:.1f} s ({rate}/s); "
            f"saved {there} that were there already, {encoding} by encoding"
        )


COMMANDS = (pull, push, clone, remote)
