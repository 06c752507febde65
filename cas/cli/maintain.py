"""Commands about the store itself: init, stats, fsck, reindex, db, doctor, completion."""

from __future__ import annotations

import click

from cas.cli.context import Context, shared_options
from cas.cli.render import plain_size, table

__all__ = ["COMMANDS"]


@click.command()
@click.argument("url", required=False)
@shared_options
def init(context: Context, url: str | None) -> None:
    """Make a store at URL, or .cas in the current directory."""
    from cas.checkpoint import Store

    with Store.init(url or context.store_url) as store:
        context.emit({"url": store.url, "store_id": store.store_id}, store.url)


@click.command()
@shared_options
def stats(context: Context) -> None:
    """Count what the store holds, and what deduplication and encoding saved."""
    with context.open() as store:
        found = store.stats()
    rows = [
        ["commits", found.commits, ""],
        ["checkpoints", found.checkpoints, ""],
        ["logical", found.logical_bytes, plain_size(found.logical_bytes)],
        ["unique", found.unique_bytes, plain_size(found.unique_bytes)],
        ["stored", found.stored_bytes, plain_size(found.stored_bytes)],
        ["packs", found.pack_bytes, plain_size(found.pack_bytes)],
    ]
    rows += [
        [f"codec {c.codec}", c.stored_bytes, f"{c.chunks} chunks, {plain_size(c.raw_bytes)} raw"] for c in found.codecs
    ]
    if found.logical_bytes:
        rows.append(["stored/logical", f"{found.pack_bytes / found.logical_bytes:.3f}", ""])
    context.emit(found.as_json(), table(rows, ["what", "bytes or number", ""]))


@click.command()
@click.option("--read-data", is_flag=True, help="Also read and verify every stored byte.")
@shared_options
def fsck(context: Context, read_data: bool) -> None:
    """Check that everything the store holds is whole and everything named is there."""
    from cas.errors import CorruptError

    with context.open() as store:
        report = store.fsck(read_data=read_data, progress=context.progress())
    lines = [str(problem) for problem in report.problems]
    lines.append(
        f"{report.checkpoints} checkpoints, {report.commits} commits, {report.refs} refs, {report.packs} packs, "
        f"{report.chunks} chunks checked: {len(report.problems)} problems"
    )
    context.emit(report.as_json(), "\n".join(lines))
    if report.problems:
        raise click.exceptions.Exit(CorruptError.exit_code)


@click.command()
@shared_options
def reindex(context: Context) -> None:
    """Rebuild the index from the store alone, without what is damaged in it."""
    from cas.errors import CorruptError

    with context.open() as store:
        built = store.reindex(progress=context.progress())
    lines = [str(one) for one in built.left_out]
    lines.append(f"{built.packs} packs, {built.checkpoints} checkpoints, {built.commits} commits, {built.refs} refs")
    if built.left_out:
        lines[-1] += f"; {len(built.left_out)} objects are damaged or missing and were left out, see `cas fsck`"
    context.emit(
        {
            "packs": built.packs,
            "checkpoints": built.checkpoints,
            "commits": built.commits,
            "refs": built.refs,
            "left_out": [{"key": one.key, "what": one.what} for one in built.left_out],
        },
        "\n".join(lines),
    )
    if built.left_out:
        raise click.exceptions.Exit(CorruptError.exit_code)


@click.group()
def db() -> None:
    """Look after the index's database."""


@db.command("upgrade")
@shared_options
def db_upgrade(context: Context) -> None:
    """Bring the index's schema to this version's."""
    with context.open() as store:
        before, after = store.upgrade_index()
    context.emit({"from": before, "to": after}, f"{before or 'nothing'} -> {after}")


@click.command()
@click.argument("url", required=False)
@shared_options
def doctor(context: Context, url: str | None) -> None:
    """Check this installation and the store: kernels, exclusive create, clock, index."""
    from cas.maintenance.doctor import examine
    from cas.repository import locate_store

    checks = examine(locate_store(url or context.store_url))
    context.emit(
        {"checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]},
        table([["ok" if check.ok else "BAD", check.name, check.detail] for check in checks], ["", "check", "found"]),
    )
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL: eval "$(cas completion bash)"."""
    from click.shell_completion import get_completion_class

    from cas.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click.Choice has let only these through
    click.echo(kind(cli, {}, "cas", "_CAS_COMPLETE").source())


COMMANDS = (init, stats, fsck, reindex, db, doctor, completion)
