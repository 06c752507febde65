"""What all commands share: the store meant, how to print, how loud to be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cas.progress import SILENT, Progress

if TYPE_CHECKING:
    from cas.checkpoint import Store

__all__ = ["Context", "shared_options"]

F = TypeVar("F", bound=Callable[..., Any])


class Context:
    """The options given before or after the subcommand, and what follows from them."""

    def __init__(self) -> None:
        self.store_url: str | None = None
        self.json = False
        self.verbosity = 0

    def open(self, url: str | None = None) -> Store:
        """The store that ``url``, ``--store``, ``CAS_STORE`` or the current directory names."""
        from cas.checkpoint import Store

        return Store.open(url or self.store_url)

    def progress(self) -> Progress:
        """A bar on stderr if that is a terminal and nobody asked for quiet; else nothing."""
        if self.verbosity < 0 or not sys.stderr.isatty():
            return SILENT
        from cas.cli.bar import Bar

        return Bar()

    def emit(self, value: object, text: str | None = None) -> None:
        """Print a result: ``value`` as one JSON document with ``--json``, else ``text`` (nothing if it is empty)."""
        if self.json:
            click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))
        elif text:
            click.echo(text)

    def note(self, text: str) -> None:
        """Say something on stderr that is no result, unless ``-q``."""
        if self.verbosity >= 0 and not self.json:
            click.echo(text, err=True)


def _set_store(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Context).store_url = value


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Context).json = True


def _set_verbose(context: click.Context, _: click.Parameter, value: int) -> None:
    context.ensure_object(Context).verbosity += value


def _set_quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Context).verbosity = -1


def shared_options(function: F) -> F:
    """Let a command take ``--store``, ``--json``, ``-q`` and ``-v``, and hand it the `Context`."""
    decorators = (
        click.option("--store", metavar="URL", expose_value=False, callback=_set_store,
                     help="The store to use; else CAS_STORE, the nearest .cas/, or your own."),
        click.option("--json", is_flag=True, expose_value=False, callback=_set_json, help="Print one JSON document."),
        click.option("-v", "--verbose", count=True, expose_value=False, callback=_set_verbose,
                     help="Say more; twice shows tracebacks."),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_set_quiet,
                     help="No progress, no notes."),
    )  # fmt: skip
    wrapped: Any = click.make_pass_decorator(Context, ensure=True)(function)
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]
