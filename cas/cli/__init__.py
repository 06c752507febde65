"""The `cas` command. One thin function a command; the work is done by `cas.checkpoint.Store`.

Results go to stdout, everything else to stderr. Imports that cost time happen
inside the command that needs them. docs/cli.md lists every command and JSON shape.
"""

from cas.cli.main import main

__all__ = ["main"]
