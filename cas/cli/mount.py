"""The command that mounts a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from cas.cli.context import Context, shared_options

__all__ = ["COMMANDS"]


@click.command()
@click.argument("rev")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@shared_options
def mount(context: Context, rev: str, directory: Path) -> None:
    """Show the files of REV in the empty directory DIR, read-only, until Ctrl-C or `umount DIR`."""
    from cas.views import StoredFiles
    from cas.views.mount import check_mountable
    from cas.views.mount import mount as mount_files

    check_mountable(directory)
    with context.open() as store:
        files = StoredFiles(store.repository.reader, store.resolve(rev).checkpoint)
        context.note(f"{files.tree.hash} is at {directory} until Ctrl-C or `umount {directory}`")
        mount_files(files, directory)


COMMANDS = (mount,)
