"""The command line, command by command: what it prints, and the shapes of its JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cas.format import Commit, Digest
from cas.repository import Repository


def test_put_prints_the_hash_alone(cas, store, model):
    """So that ``h=$(cas put dir)`` works."""
    result = cas("put", model)
    assert result.code == 0
    assert len(result.out.strip()) == 64
    assert result.err == ""
    assert cas("put", model).out == result.out


def test_put_json_gives_all_figures(cas, store, model):
    """The shape is stable; sizes tell what was new."""
    first = cas("--json", "put", model, "--ref", "main", "-m", "first").json
    again = cas("put", model, "--json", "--ref", "main").json

    assert first.keys() == {"hash", "commit", "ref", "files", "logical_bytes", "new_bytes", "stored_bytes"}
    assert first["new_bytes"] == first["logical_bytes"] == again["logical_bytes"] > first["stored_bytes"] // 2
    assert (first["files"], again["new_bytes"], again["stored_bytes"]) == (3, 0, 0)
    assert first["hash"] == again["hash"]
    assert first["commit"] != again["commit"]


def test_pull_gives_the_directory_back(cas, store, model, tmp_path):
    """Byte for byte, modes and empty directories too; running it again is nothing new."""
    rev = cas("put", model).out.strip()
    target = tmp_path / "out"
    assert cas("pull", rev[:10], target).code == 0
    assert cas("pull", rev, target, "--json").json["written_bytes"] == 0

    assert {p.relative_to(target): p.read_bytes() for p in target.rglob("*") if p.is_file()} == {
        p.relative_to(model): p.read_bytes() for p in model.rglob("*") if p.is_file()
    }
    assert (target / "logs").is_dir()
    assert (target / "run.sh").stat().st_mode & 0o100


def test_pull_does_not_overwrite_unasked(cas, store, model, tmp_path):
    """A file that differs stops it before anything is written; --force replaces it."""
    rev = cas("put", model).out.strip()
    target = tmp_path / "out"
    target.mkdir()
    (target / "config.json").write_text("mine")

    refused = cas("pull", rev, target)
    assert refused.code == 6
    assert "config.json" in refused.err
    assert sorted(path.name for path in target.iterdir()) == ["config.json"]
    assert cas("pull", rev, target, "--force").code == 0
    assert (target / "config.json").read_bytes() == (model / "config.json").read_bytes()


def test_push_and_pull_between_stores(cas, store, model, tmp_path):
    """By name there, from there into a directory, and from there into this store."""
    other = tmp_path / "other"
    cas("init", other)
    rev = cas("put", model, "--ref", "main").out.strip()
    moved = cas("push", "main", other, "--json").json
    assert moved["moved_bytes"] > 0
    assert cas("push", "main", other, "--json").json["moved_bytes"] == 0

    assert cas("pull", "main", tmp_path / "out", "--from", other).out.strip() == rev
    third = tmp_path / "third"
    cas("init", third)
    assert cas("pull", rev, "--from", other, "--store", third).out.strip() == rev
    assert cas("ls", rev, "--store", third).code == 0


def test_ls_show_cat_diff(cas, store, model):
    """What is in a checkpoint, what is said about it, one file's bytes, and what changed."""
    first = cas("put", model, "--ref", "main", "-m", "first", "--metric", "loss=0.5", "--param", "lr=1e-3",
                "--param", "name=adam", "--run", "r", "--trial", "t", "--step", "7").out.strip()  # fmt: skip
    (model / "config.json").write_text("{}\n")
    (model / "new").write_text("x")
    (model / "run.sh").unlink()
    cas("put", model, "--ref", "main")

    listed = cas("ls", first, "--json").json
    assert [row["path"] for row in listed["files"]] == ["config.json", "run.sh", "weights.npy"]
    assert listed["empty_directories"] == ["logs"]
    assert listed["files"][1]["executable"]
    assert listed["files"][0]["blob"] in cas("ls", first).out

    shown = cas("show", "main~1", "--json").json
    (commit,) = shown["commits"]
    assert commit["metrics"] == {"loss": 0.5}
    assert commit["params"] == {"lr": 0.001, "name": "adam"}
    assert (commit["run"], commit["trial"], commit["step"], commit["message"]) == ("r", "t", 7, "first")
    assert "metric loss = 0.5" in cas("show", first).out

    assert cas("cat", "main:new").out == "x"
    assert cas("cat", f"{first}:config.json").out == '{"layers": 2}\n'
    assert cas("diff", "main~1", "main").out.splitlines() == ["M  config.json", "A  new", "D  run.sh"]
    assert [row["status"] for row in cas("diff", "main~1", "main", "--json").json["changes"]] == ["M", "A", "D"]


def test_log_refs_tag_best(cas, store, model):
    """History, names, and the best by a metric."""
    hashes = []
    for step, loss in enumerate((0.5, 0.2, 0.9)):
        (model / "config.json").write_text(str(step))
        hashes.append(
            cas("put", model, "--ref", "runs/a", "--metric", f"loss={loss}", "--step", step, "--run", "a").out.strip()
        )
    cas("put", model, "--run", "b", "--metric", "loss=0.1")

    assert [c["checkpoint"] for c in cas("log", "runs/a", "--json").json["commits"]] == hashes[::-1]
    assert len(cas("log", "--json").json["commits"]) == 4
    assert len(cas("log", "-n", 2, "--json").json["commits"]) == 2
    assert hashes[1][:12] in cas("log", "runs/a").out

    assert cas("best", "loss", "--run", "a", "--json").json["commits"][0]["checkpoint"] == hashes[1]
    assert cas("best", "loss", "--max", "--json").json["commits"][0]["checkpoint"] == hashes[2]
    assert cas("best", "nothing").code == 3

    assert cas("tag", "release", "runs/a~1").code == 0
    assert cas("tag", "release", "runs/a").code == 6
    assert cas("tag", "release", "runs/a", "--force").code == 0
    assert [ref["name"] for ref in cas("refs", "--json").json["refs"]] == ["release", "runs/a"]
    assert len(cas("refs", "--all", "--json").json["refs"]) == 3
    assert cas("tag", "--delete", "release").code == 0
    assert "release" not in cas("refs").out


@pytest.mark.parametrize(
    ("time_us", "shown", "iso"),
    [
        (2**63 - 1, "+294247-01-10 04:00:54", "+294247-01-10T04:00:54.775807+00:00"),
        (-(2**63), "-290308-12-21 19:59:05", "-290308-12-21T19:59:05.224192+00:00"),
        (253_402_300_800_000_000, "+10000-01-01 00:00:00", "+10000-01-01T00:00:00+00:00"),
        (-62_167_219_200_000_000, "0000-01-01 00:00:00", "0000-01-01T00:00:00+00:00"),
        (1_795_455_747_000_001, "2026-11-23 17:42:27", "2026-11-23T17:42:27.000001+00:00"),
    ],
)
def test_any_time_is_shown(cas, store, model, time_us, shown, iso):
    """A commit holds whatever clock its writer had; it breaks neither the list of all commits nor its own."""
    checkpoint = Digest.parse(cas("put", model, "--metric", "loss=0.5").out.strip())
    with Repository.open(str(store)) as repository:
        repository.commit(checkpoint, ref="odd", about=Commit(checkpoint, time_us=time_us, metrics={"loss": 0.1}))

    for command in (("log",), ("show", "odd"), ("best", "loss")):
        assert shown in cas(*command).out
        assert iso in [commit["time"] for commit in cas(*command, "--json").json["commits"]]


def test_parents_can_be_given(cas, store, model):
    """By any REV that leads to a commit, more than once."""
    one = cas("put", model, "--ref", "one", "--json").json["commit"]
    two = cas("put", model, "--ref", "two", "--json").json["commit"]
    cas("put", model, "--ref", "three", "--parent", "one", "--parent", two[:10])
    assert cas("show", "three", "--json").json["commits"][0]["parents"] == [one, two]


def test_stats_fsck_reindex_db_doctor(cas, store, model, tmp_path):
    """The store looked at from outside."""
    copy = tmp_path / "copy"
    rev = cas("put", model).out.strip()
    cas("pull", rev, copy)
    (copy / "extra").write_text("more")
    cas("put", copy)

    stats = cas("stats", "--json").json
    assert (stats["commits"], stats["checkpoints"]) == (2, 2)
    assert stats["unique_bytes"] < stats["logical_bytes"] * 0.6
    assert sum(codec["chunks"] for codec in stats["codecs"].values()) >= 4
    assert "logical" in cas("stats").out

    assert cas("fsck").code == cas("fsck", "--read-data").code == 0
    assert cas("fsck", "--json").json["problems"] == []
    assert cas("reindex", "--json").json["commits"] == 2
    assert cas("stats", "--json").json == stats
    assert cas("db", "upgrade").code == 0

    checks = {check["name"]: check for check in cas("doctor", "--json").json["checks"]}
    assert all(check["ok"] for check in checks.values())
    assert {"kernels", "exclusive create", "clock", "store", "index"} <= checks.keys()
    assert cas("doctor", store).code == 0


def test_fsck_of_a_damaged_store_says_corrupt(cas, store, model):
    """The exit code is that of CorruptError, and the pack is named."""
    cas("put", model)
    (pack,) = [path for path in (store / "packs").rglob("*") if path.is_file()]
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)

    found = cas("fsck", "--read-data")
    assert found.code == 5
    assert pack.name in found.out


def test_shared_options_stand_before_or_after_the_subcommand(cas, store, model, tmp_path):
    """``cas --store X ls`` and ``cas ls --store X`` are one."""
    other = tmp_path / "other"
    cas("init", other)
    rev = cas("--store", other, "put", model).out.strip()
    assert cas("ls", rev, "--store", other, "--json").json == cas("--json", "--store", other, "ls", rev).json
    assert cas("ls", rev).code == 3


def test_version_and_completion(cas):
    """The version says which kernels are in use; each shell gets a script."""
    assert "kernels:" in cas("--version").out
    for shell in ("bash", "zsh", "fish"):
        assert "_CAS_COMPLETE" in cas("completion", shell).out


@pytest.mark.slow
def test_the_installed_command_works(store, model):
    """`cas` and `python -m cas`, as processes of their own."""
    command = str(Path(sys.executable).parent / "cas")
    one = subprocess.run([command, "put", str(model)], capture_output=True, text=True, check=True)
    other = subprocess.run([sys.executable, "-m", "cas", "put", str(model)], capture_output=True, text=True, check=True)
    assert one.stdout == other.stdout
