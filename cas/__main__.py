"""``python -m cas`` is the `cas` command."""

from cas.cli import main

main()
