"""`cas init` takes an empty folder: what cas itself left there, or another init is writing there, is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_folder_that_doctor_looked_at(cas, model, tmp_path):
    """Doctor leaves nothing there."""
    folder = tmp_path / "new"
    assert cas("doctor", folder).code == 0
    assert list(folder.iterdir()) == []
    assert cas("init", folder).code == 0
    assert cas("put", model, "--store", folder).code == 0


def test_the_users_own_store_after_a_doctor_or_a_remote(cas, model, tmp_path):
    """On a fresh machine both come before there is a store."""
    assert cas("doctor").code == 0
    assert cas("remote", "add", "origin", tmp_path / "elsewhere").code == 0
    assert cas("put", model).code == 0
    assert list(cas("remote", "list", "--json").json["remotes"][0]) == ["name", "url"]


@pytest.mark.parametrize("when", ["writev", "link"])
def test_an_init_that_was_killed_is_no_obstacle(cas, tmp_path, when):
    """Before or after its file was written; nor is a killed doctor."""
    folder = tmp_path / "store"
    for command in ("init", "doctor"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, command, str(folder), when], capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".new-") for path in folder.rglob("*"))

    assert cas("init", folder).code == 0
    assert cas("fsck", "--store", folder).code == 0


KILLED = """
import os, signal, sys
from cas.cli import main
command, folder, when = sys.argv[1:]
setattr(os, when, lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL))
sys.argv = ["cas", command, folder]
main()
"""

PROCESSES, ROUNDS = 4, 10
RACE = """
import os, sys, time
from pathlib import Path
from cas.repository import Repository
own, processes, rounds = map(int, sys.argv[2:])
for number in range(rounds):
    meeting = Path(sys.argv[1], f"meeting {number}")
    meeting.mkdir(exist_ok=True)
    (meeting / str(own)).touch()
    began_s = time.monotonic()
    while len(os.listdir(meeting)) < processes:
        if time.monotonic() - began_s > 60:
            sys.exit("another process has failed")
        time.sleep(0.001)
    url = str(Path(sys.argv[1], f"store {number}"))
    with Repository.init(url) if own % 2 else Repository.open(url, create=True) as repository:
        repository.writer()
        print(number, repository.declared.store_id)
"""


@pytest.mark.slow
def test_of_racing_inits_one_makes_the_store_and_all_open_it(tmp_path):
    """Processes that meet at each folder: none is refused for what another is writing, and all have the same store."""
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racing = [
        subprocess.Popen([*command, str(own), str(PROCESSES), str(ROUNDS)], stdout=subprocess.PIPE, text=True)
        for own in range(PROCESSES)
    ]
    told = [process.communicate()[0].splitlines() for process in racing]

    assert [process.returncode for process in racing] == [0] * PROCESSES
    assert len(told[0]) == ROUNDS
    assert told == [told[0]] * PROCESSES


@pytest.mark.parametrize(
    "name", [".new-", ".new-0123456789abcdeg", ".newer", "probe-0123", "probe", "remotes.json5", ".DS_Store"]
)
def test_what_only_looks_like_ours_is_somebody_elses(cas, tmp_path, name):
    """A folder with it is refused, and stays as it was."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("mine")
    refused = cas("init", tmp_path / "folder")
    assert refused.code == 7
    assert name in refused.err
    assert os.listdir(tmp_path / "folder") == [name]


def test_a_folder_named_like_ours_with_something_in_it_is_somebody_elses(cas, tmp_path):
    """A probe writes numbered objects and nothing else."""
    for inner, code in ((".new-0123456789abcdef/0000", 7), ("probe-0123456789abcdef/notes", 7),
                        ("probe-0123456789abcdef/0000", 0)):  # fmt: skip
        folder = tmp_path / Path(inner).name
        (folder / inner).parent.mkdir(parents=True)
        (folder / inner).write_text("x")
        assert cas("init", folder).code == code, inner
        (folder / inner).unlink()
        (folder / inner).parent.rmdir()
        if code:
            folder.rmdir()
