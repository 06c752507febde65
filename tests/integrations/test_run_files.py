"""The file system of a run, through pyarrow as Ray uses it; no Ray is needed."""

from __future__ import annotations

import pickle

import pytest

import cas
from cas.integrations.run_store import Report, RunStore

pytest.importorskip("pyarrow")

from pyarrow.fs import FileSelector, FileType, LocalFileSystem, copy_files

CHECKPOINT = "exp/run/trial/checkpoint_000000"
REPORT = Report("run", "trial", 1, {"loss": 0.5}, {"lr": 0.1})


@pytest.fixture
def model(tmp_path):
    """A directory as a training program saves it."""
    folder = tmp_path / "model"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "model.bin").write_bytes(bytes(range(256)) * 20_000)
    (folder / "deep" / "state.json").write_text("{}")
    return folder


def report(files, folder, path=CHECKPOINT):
    """Do what Ray does in a worker: copy, then send a reference away."""
    files.create_dir(path)
    copy_files(str(folder), path, destination_filesystem=files, chunk_size=1 << 20)
    return pickle.loads(pickle.dumps(files))


def names(files, path, recursive=False):
    found = files.get_file_info(FileSelector(path, recursive=recursive))
    return sorted(info.path.removeprefix(path).lstrip("/") for info in found)


def test_what_was_copied_in_comes_out(run, model, tmp_path):
    """Every file, in any process that reaches the store."""
    report(run.files, model)
    copy_files(CHECKPOINT, str(tmp_path / "out"), source_filesystem=run.another_process())

    assert (tmp_path / "out" / "model.bin").read_bytes() == (model / "model.bin").read_bytes()
    assert (tmp_path / "out" / "deep" / "state.json").read_text() == "{}"
    assert (tmp_path / "out" / "deep" / "empty").is_dir()


def test_the_checkpoint_is_the_directory_that_was_reported(run, model):
    """Its hash is the one that `cas put` would have given it."""
    expected = run.store.put(model).checkpoint
    report(run.files, model)
    commit = run.files.handler.run_store.commit(CHECKPOINT, REPORT)

    assert commit.checkpoint == expected
    assert run.store.resolve("runs/run/trial").commit == commit
    assert (commit.run, commit.trial, commit.step) == ("run", "trial", 1)
    assert (commit.metrics, commit.params) == ({"loss": 0.5}, {"lr": 0.1})


def test_half_a_checkpoint_is_nowhere(run, model):
    """Until all of it was copied and the reference is sent away, no other process sees anything, nor is it stored."""
    run.files.create_dir(CHECKPOINT)
    with run.files.open_output_stream(f"{CHECKPOINT}/model.bin") as file:
        file.write(b"half")
    elsewhere = run.another_process()

    assert elsewhere.get_file_info(CHECKPOINT).type == FileType.NotFound
    assert run.store.stats().checkpoints == 0
    with pytest.raises(cas.NotFoundError, match="nothing was stored"):
        elsewhere.handler.run_store.commit(CHECKPOINT, REPORT)


def test_a_process_sees_what_it_has_not_sent_away_yet(run):
    """Ray reads a checkpoint's metadata, and adds to it, in the process that uploads it."""
    run.files.create_dir(CHECKPOINT)
    with run.files.open_output_stream(f"{CHECKPOINT}/a/b.txt") as file:
        file.write(b"written")

    assert run.files.open_input_file(f"{CHECKPOINT}/a/b.txt").read() == b"written"
    assert run.files.get_file_info(f"{CHECKPOINT}/a").type == FileType.Directory
    assert run.files.get_file_info(f"{CHECKPOINT}/a/b.txt").size == 7
    assert names(run.files, CHECKPOINT, recursive=True) == ["a", "a/b.txt"]


def test_a_commit_is_made_once(run, model):
    """Ray tells of one checkpoint several times, for instance when it pauses a trial."""
    report(run.files, model)
    store = run.files.handler.run_store
    first = store.commit(CHECKPOINT, REPORT)

    assert store.commit(CHECKPOINT, REPORT) == first
    assert run.another_process().handler.run_store.commit(CHECKPOINT, REPORT) == first
    assert run.store.stats().commits == 1


def test_parts_of_several_processes_are_one_checkpoint(run, tmp_path):
    """As when each rank saves a shard. No part is read or stored again for it."""
    for rank, files in enumerate([run.files, run.another_process()]):
        (tmp_path / f"rank{rank}").mkdir()
        (tmp_path / f"rank{rank}" / f"shard{rank}.bin").write_bytes(bytes([rank]) * 3_000_000)
        (tmp_path / f"rank{rank}" / "same.txt").write_text("the same")
        files.create_dir(CHECKPOINT)
        copy_files(str(tmp_path / f"rank{rank}"), CHECKPOINT, destination_filesystem=files)
        files.handler.run_store.settle()
    stored = run.store.stats().pack_bytes
    commit = run.files.handler.run_store.commit(CHECKPOINT, REPORT)

    assert names(run.files, CHECKPOINT) == ["same.txt", "shard0.bin", "shard1.bin"]
    assert [entry.path for entry in run.store.tree(str(commit.id)).files] == ["same.txt", "shard0.bin", "shard1.bin"]
    assert run.store.stats().pack_bytes == stored
    assert run.store.fsck(read_data=True).problems == []


def test_a_deleted_checkpoint_can_be_read_by_whoever_holds_its_path(run, model):
    """Retention takes names away. What another trial was about to continue from is there, and so is the commit."""
    report(run.files, model)
    commit = run.files.handler.run_store.commit(CHECKPOINT, REPORT)
    run.files.delete_dir(CHECKPOINT)

    assert names(run.files, "exp/run/trial") == []
    assert run.files.open_input_file(f"{CHECKPOINT}/deep/state.json").read() == b"{}"
    assert run.store.resolve("runs/run/trial").commit == commit
    assert run.store.fsck().problems == []


def test_a_checkpoint_that_is_edited_is_committed_again(run, model):
    """As by ``set_metadata`` after the run: what the path stands for is kept, and what it stood for as well."""
    report(run.files, model)
    first = run.files.handler.run_store.commit(CHECKPOINT, REPORT)
    with run.files.open_output_stream(f"{CHECKPOINT}/.metadata.json") as file:
        file.write(b"{}")
    tip = run.store.resolve("runs/run/trial").commit

    assert tip.parents == (first.id,)
    assert tip.metrics == first.metrics
    assert {entry.path for entry in run.store.tree(str(tip.id)).files} == {
        ".metadata.json",
        "deep/state.json",
        "model.bin",
    }
    assert names(run.files, CHECKPOINT) == [".metadata.json", "deep", "model.bin"]


def test_a_trial_that_continues_anothers_checkpoint_has_it_as_parent(run, model):
    """And keeps its own past behind the second parent."""
    report(run.files, model, "exp/run/good/checkpoint_000000")
    report(run.files, model, "exp/run/bad/checkpoint_000000")
    store = run.files.handler.run_store
    good = store.commit("exp/run/good/checkpoint_000000", Report("run", "good", 1, {}, {}))
    bad = store.commit("exp/run/bad/checkpoint_000000", Report("run", "bad", 1, {}, {}))
    before = run.store.stats().pack_bytes
    report(run.files, model, "exp/run/bad/checkpoint_000001")
    exploiting = Report("run", "bad", 2, {}, {}, trained_from="exp/run/good/checkpoint_000000")
    commit = store.commit("exp/run/bad/checkpoint_000001", exploiting)

    assert commit.parents == (good.id, bad.id)
    assert run.store.stats().pack_bytes == before


def test_a_retried_upload_replaces_the_first(run, model):
    """Ray copies again over what a failed copy left behind."""
    run.files.create_dir(CHECKPOINT)
    with run.files.open_output_stream(f"{CHECKPOINT}/model.bin") as file:
        file.write(b"half")
    report(run.files, model)

    assert run.files.open_input_file(f"{CHECKPOINT}/model.bin").read() == (model / "model.bin").read_bytes()


def test_plain_files_are_rewritten_in_place(run):
    """Results, markers and Ray's own state are no checkpoints, and leave nothing behind in the store."""
    for text in (b"1", b"12"):
        with run.files.open_output_stream("exp/run/.marker") as file:
            file.write(text)
    elsewhere = run.another_process()

    assert elsewhere.open_input_stream("/exp/run/.marker").read() == b"12"
    assert names(elsewhere, "exp/run") == [".marker"]
    assert elsewhere.get_file_info("exp").type == FileType.Directory
    assert run.store.stats().pack_bytes == 0

    elsewhere.delete_file("exp/run/.marker")

    assert run.files.get_file_info("exp/run/.marker").type == FileType.NotFound
    with pytest.raises(FileNotFoundError):
        run.files.open_input_stream("exp/run/.marker")


@pytest.mark.parametrize("recursive", [False, True])
def test_listings_echo_the_path_they_were_asked_for(run, model, recursive):
    """With a leading slash or without, as other file systems do, whose callers cut the beginning off."""
    report(run.files, model)
    for base in ("exp/run", "/exp/run", f"/{CHECKPOINT}", "exp/run/"):
        found = run.files.get_file_info(FileSelector(base, recursive=recursive))
        assert found
        assert all(info.path.startswith(f"{base.rstrip('/')}/") for info in found)
    missing = FileSelector("exp/nothing", allow_not_found=True)
    assert run.files.get_file_info(missing) == []
    with pytest.raises(FileNotFoundError):
        run.files.get_file_info(FileSelector("exp/nothing"))


def test_what_would_change_a_checkpoint_unseen_is_refused(run, model):
    """Ray does none of it; whoever does is told."""
    report(run.files, model)
    for change in (
        lambda: run.files.delete_file(f"{CHECKPOINT}/model.bin"),
        lambda: run.files.delete_dir(f"{CHECKPOINT}/deep"),
        lambda: run.files.move(CHECKPOINT, "elsewhere"),
        lambda: run.files.open_append_stream(f"{CHECKPOINT}/model.bin"),
    ):
        with pytest.raises((OSError, ValueError), match="cannot append, move, copy"):
            change()
    assert "model.bin" in names(run.files, CHECKPOINT)


def test_a_file_system_is_its_store(run):
    """Ray compares the file system of a checkpoint with that of its run, after both have travelled."""
    travelled = pickle.loads(pickle.dumps(run.files))

    assert travelled == run.files
    assert travelled != LocalFileSystem()
    assert travelled.type_name == "py::cas"
    assert len(pickle.dumps(run.files)) < 1000


def test_a_url_with_a_secret_is_refused():
    """It would be sent to every worker, and into Ray's own files."""
    from cas.integrations.ray_tune import storage

    with pytest.raises(cas.RefusedError, match="every worker"):
        storage("s3://key:secret@bucket/store")


def test_large_files_are_read_in_parts(run, tmp_path):
    """A stream over a stored file is lazy and can be read from anywhere."""
    (tmp_path / "big").mkdir()
    data = bytes(range(256)) * 40_000
    (tmp_path / "big" / "x.bin").write_bytes(data)
    report(run.files, tmp_path / "big")
    with run.another_process().open_input_file(f"{CHECKPOINT}/x.bin") as file:
        assert file.read_at(100, 5_000_000) == data[5_000_000:5_000_100]
        assert file.size() == len(data)


def test_closing_forgets_what_was_not_sent(run):
    """A process that ends in the middle leaves nothing."""
    run.files.create_dir(CHECKPOINT)
    with run.files.open_output_stream(f"{CHECKPOINT}/x") as file:
        file.write(b"x")
    RunStore.close_all()

    assert run.files.get_file_info(CHECKPOINT).type == FileType.NotFound
    assert run.store.stats().checkpoints == 0
