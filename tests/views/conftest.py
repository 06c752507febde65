"""Stores that count what is asked of them, and a real S3 server."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cas.format import StoreFormat
from cas.format.store_format import FORMAT_KEY
from cas.repository import BytesSource, Repository
from cas.storage import open_storage
from cas.testing.faults import CountingStorage
from cas.views import StoredFiles

BUCKET = "cas-views"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def stored(repository: Repository) -> Callable[[dict[str, bytes]], StoredFiles]:
    """Put files and look at them lazily."""

    def put(files: dict[str, bytes]) -> StoredFiles:
        result = repository.put([BytesSource(path, data) for path, data in sorted(files.items())])
        return StoredFiles(repository.reader, result.checkpoint)

    return put


@pytest.fixture
def counting() -> Iterator[Callable[[str], tuple[Repository, CountingStorage]]]:
    """Open the store at a URL so that every call to its storage counts."""
    opened = []

    def open_counting(url: str) -> tuple[Repository, CountingStorage]:
        storage = CountingStorage(open_storage(url))
        repository = Repository(storage, StoreFormat.decode(storage.inner.read(FORMAT_KEY), FORMAT_KEY))
        opened.append(repository)
        return repository, storage

    yield open_counting
    for repository in opened:
        repository.close()


@pytest.fixture(scope="module")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of a server of its own, and an environment in which clients find it and nothing else."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    nowhere = str(tmp_path_factory.mktemp("aws") / "nothing")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "nobody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
        environment.setenv("AWS_CONFIG_FILE", nowhere)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        request = urllib.request.Request(f"http://{host}:{port}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        yield f"s3://{BUCKET}/store"
    server.stop()
