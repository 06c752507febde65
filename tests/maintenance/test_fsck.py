"""fsck finds any damage; reading never returns damaged bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cas.errors import CasError, CorruptError
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.fixture
def store(tmp_path):
    url = tmp_path / "store"
    with Repository.init(str(url)) as repository:
        weights = np.random.default_rng(1).normal(size=30_000).astype("f4").tobytes()
        repository.put([BytesSource("w", weights), BytesSource("big", noise(5 << 20))], ref="main")
        repository.put([BytesSource("w", weights), BytesSource("log", b"x" * 5000)], ["empty"], ref="main")
    return url


def objects(url):
    return sorted(
        path for path in url.rglob("*")
        if path.is_file() and path.relative_to(url).parts[0] in ("packs", "manifests", "commits", "refs", "format.json")
    )  # fmt: skip


def rewrite(path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_whole_store_has_no_problems(store):
    """And everything in it is counted."""
    with Repository.open(str(store)) as repository:
        report = fsck(repository, read_data=True)
        assert report.problems == []
        assert (report.checkpoints, report.commits, report.refs, report.packs) == (2, 2, 1, 2)
        assert report.unreferenced_packs == 0


def check(store) -> list[str]:
    """What is wrong, be it that the store cannot even be opened."""
    try:
        with Repository.open(str(store)) as repository:
            return [str(problem) for problem in fsck(repository, read_data=True).problems]
    except CasError as error:
        return [str(error)]


def test_a_flipped_bit_anywhere_is_found_and_never_returned(store):
    """In every region of every stored object; what can still be read is what was put."""
    rng = random.Random(7)
    with Repository.open(str(store)) as repository:
        truth = {
            (checkpoint.tree.hash, entry.path): repository.reader.read_blob(checkpoint, entry)
            for rev in ("main", "main~1")
            for checkpoint in [repository.reader.manifest(repository.resolve(rev).checkpoint)]
            for entry in checkpoint.tree.files
        }
    for path in objects(store):
        whole = path.read_bytes()
        places = {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(6))}
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.randrange(8)
            rewrite(path, bytes(damaged))

            assert check(store), f"{path} byte {place} of {len(whole)}"
            for (checkpoint, name), content in truth.items():
                try:
                    with Repository.open(str(store)) as repository:
                        manifest = repository.reader.manifest(checkpoint)
                        assert repository.reader.read_blob(manifest, manifest.tree.entry(name)) == content
                except CasError:
                    pass
        rewrite(path, whole)
    assert check(store) == []


def test_a_truncated_object_is_found(store):
    """Down to nothing, by one byte or by half."""
    for path in objects(store):
        whole = path.read_bytes()
        for size in (0, len(whole) // 2, len(whole) - 1):
            rewrite(path, whole[:size])
            assert check(store), f"{path} cut to {size}"
        rewrite(path, whole)


def test_a_missing_object_is_found_with_what_it_touches(store):
    """A pack that is gone names the checkpoints that need it."""
    with Repository.open(str(store)) as repository:
        latest = str(repository.resolve("main").checkpoint)
    for path in objects(store):
        if path.parent.name in ("main", store.name):
            continue  # without its record a ref is older or not there, without format.json there is no store
        whole = path.read_bytes()
        path.unlink()
        problems = check(store)
        assert problems, path
        if path.parts[-3] in ("packs",):
            assert any("touches" in problem for problem in problems)
        path.write_bytes(whole)
    assert latest not in " ".join(check(store))


def test_a_corrupt_pack_is_a_corrupt_error_with_its_own_exit_code(store):
    """The caller learns which chunk of which pack it was."""
    with Repository.open(str(store)) as repository:
        manifest = repository.reader.manifest(repository.resolve("main~1").checkpoint)
        location = manifest.locations[manifest.recipe(manifest.tree.entry("big").blob).chunks[0].digest]
        path = store / "packs" / str(location.pack)[:2] / str(location.pack)
        damaged = bytearray(path.read_bytes())
        damaged[location.entry.offset] ^= 1
        rewrite(path, bytes(damaged))
        with pytest.raises(CorruptError, match=str(location.entry.digest)):
            repository.reader.read_blob(manifest, manifest.tree.entry("big"))
    assert CorruptError.exit_code == 5


def test_a_pack_that_nothing_names_is_garbage_not_damage(store):
    """What a writer that died left behind is counted, and is no problem."""
    with Repository.open(str(store)) as repository:
        repository.writer()._packer.add(repository.resolve("main").checkpoint, 4, 0, b"1234")
        repository.writer()._packer.finish()
        report = fsck(repository)
        assert report.unreferenced_packs == 1
        assert report.problems == []
