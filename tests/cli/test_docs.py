"""docs/cli.md says of every command what the command says, and CONTRIBUTING.md of the layers what is enforced."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest

from cas.cli.main import cli
from cas.index.migration import SCHEMA_VERSION

ROOT = Path(__file__).parents[2]
SECTIONS = dict(part.partition("\n")[::2] for part in (ROOT / "docs" / "cli.md").read_text().split("\n## ")[1:])
SHARED = SECTIONS["Options of every command"]


def commands(group: click.Group = cli, before: str = "") -> list[tuple[str, click.Command]]:
    found = []
    for name, command in group.commands.items():
        found += commands(command, f"{name} ") if isinstance(command, click.Group) else [(before + name, command)]
    return found


def options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"}


def section(name: str) -> str:
    return SECTIONS.get(name) or SECTIONS[name.partition(" ")[0]]


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_option_is_documented(name, command):
    """In its command's section, or for all of them; those share what is said to be shared."""
    shared = set(re.findall(r"`(-[-a-z]+)", SHARED)) - {"-h", "--help", "--version"}
    if name == "completion":
        assert "`completion` takes `--help` alone" in SHARED
        assert not options(command)
        return
    assert f"cas {name}" in section(name)
    assert options(command) >= {"--store", "--json", "-v", "--verbose", "-q", "--quiet"}
    text = section(name) + (section("log") if "options are those of [log]" in section(name) else "")
    for option in command.params:
        if isinstance(option, click.Option) and not shared & set(option.opts):
            assert any(re.search(rf"(?<![-\w]){spelling}(?![-\w])", text) for spelling in option.opts), option.name


def examples(name: str) -> list[dict]:
    blocks = re.findall(r"```json\n(.*?)```", section(name), re.DOTALL)
    return [json.JSONDecoder().raw_decode(block)[0] for block in blocks]


def test_the_examples_have_the_keys_that_commands_print(cas, store, model):
    """Of the commands about the store, whose answers do not depend on what is in it."""
    cas("put", model)
    for command in ("stats", "fsck", "reindex", "doctor"):
        (example,) = examples(command)
        assert list(example) == list(cas(command, "--json").json), command
    (example,) = examples("db upgrade")
    upgraded = cas("db", "upgrade", "--json").json
    assert list(example) == list(upgraded)
    assert example["to"] == upgraded["to"] == SCHEMA_VERSION


def test_logical_bytes_are_those_of_distinct_checkpoints(cas, store, model):
    """Two commits of one checkpoint count once, as docs/cli.md says."""
    logical_bytes = cas("put", model, "--ref", "main", "--json").json["logical_bytes"]
    cas("put", model, "--ref", "main", "-m", "again")
    assert cas("stats", "--json").json["logical_bytes"] == logical_bytes
    assert "copies of the distinct checkpoints" in section("stats")


def test_the_layers_are_those_that_are_enforced():
    """Every folder, row by row."""
    (contract, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    enforced = [set(re.findall(r"\w+", row)) - {"web"} for row in contract["layers"]]
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| row | folders |\n|---|---|\n")[2].partition("\n\n")[0]
    assert [set(re.findall(r"`(\w+)`", line)) for line in table.splitlines()] == enforced
