"""The index is a cache: rebuilt from the store it equals what it was."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.format import Commit, Digest
from cas.repository import BytesSource, Repository

WEIGHTS = np.random.default_rng(0).normal(size=200_000).astype("f4")


def fill(repository: Repository, moves: list[tuple[str | None, int, float]]) -> None:
    for ref, number, loss in moves:
        data = (WEIGHTS + number).tobytes()
        about = Commit(
            Digest.of(b""), time_us=number, message=f"number {number}", run="r", trial=str(number % 2), step=number,
            metrics={"loss": loss, "epoch": number}, params={"lr": 1e-3, "layers": [1, 2], "name": "x"},
        )  # fmt: skip
        repository.put(
            [BytesSource("w", data), BytesSource("note", str(number).encode())], ["empty"], ref=ref, about=about
        )


MOVES = st.lists(
    st.tuples(st.sampled_from([None, "main", "runs/a"]), st.integers(0, 3), st.floats(allow_nan=True)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=8, deadline=None)
@given(moves=MOVES)
def test_rebuilt_equals_original(moves, tmp_path_factory):
    """After any history `reindex` changes nothing; nor does starting from an empty database."""
    url = tmp_path_factory.mktemp("rebuild") / "store"
    with Repository.init(str(url)) as repository:
        fill(repository, moves)
        original = repository.index.dump()
        counted = repository.reindex()
        assert repository.index.dump() == original
        assert counted.packs >= 1
    for path in url.glob("index.sqlite*"):
        path.unlink()
    with Repository.open(str(url)) as repository:
        assert repository.index.dump() == original


def test_an_index_elsewhere_catches_up_with_other_writers(tmp_path, monkeypatch):
    """Two machines, an index each, one store: the second learns what the first wrote, and stores nothing twice."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("CAS_INDEX", str(tmp_path / "one.sqlite"))
    Repository.init(url).close()
    with Repository.open(url) as one:
        fill(one, [("main", 1, 0.5)])
        monkeypatch.setenv("CAS_INDEX", str(tmp_path / "two.sqlite"))
        with Repository.open(url) as two:
            assert [commit.step for commit in two.index.log()] == [1]
            monkeypatch.setenv("CAS_INDEX", str(tmp_path / "one.sqlite"))
            fill(one, [("main", 2, 0.25), (None, 3, 0.75)])
            monkeypatch.setenv("CAS_INDEX", str(tmp_path / "two.sqlite"))
            assert two.catch_up() == 2
            assert two.catch_up() == 0
            assert {commit.step for commit in two.index.log()} == {1, 2, 3}
            assert two.put([BytesSource("other", (WEIGHTS + 3).tobytes())]).new_bytes == 0
