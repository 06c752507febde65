"""The command group, and what every command shares: errors, exit codes, ``--version``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from cas.cli import content, history, maintain, mount, predict, transfer
from cas.cli.context import Context, shared_options
from cas.errors import CasError

__all__ = ["cli", "main"]


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from cas.kernels import backend

        click.echo(f"cas {version('cas')} (kernels: {backend()})")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Print the version and the kernels in use.")  # fmt: skip
@shared_options
def cli(context: Context) -> None:
    """Git for model checkpoints: one immutable hash for every checkpoint, stored once."""


for module in (content, transfer, history, maintain, mount, predict):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line and exit: 0, 2 for a usage error, else the error class's own code."""
    context = Context()
    try:
        code = cli.main(prog_name="cas", standalone_mode=False, obj=context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("cas: stopped; run the same command again to finish", err=True)
        code = 130
    except BrokenPipeError:
        # Whoever read our output has enough. Point stdout elsewhere, or Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except CasError as error:
        if context.verbosity >= 2:
            raise
        click.echo(f"cas: {error}", err=True)
        code = error.exit_code
    except Exception as error:
        if context.verbosity >= 2:
            raise
        click.echo(f"cas: unexpected {type(error).__name__}: {error}\nrun again with -vv for the traceback", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
