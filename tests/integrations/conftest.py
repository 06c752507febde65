"""A store with a run's file system over it; and Ray, started once for all tests that need it, beside an S3 server."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

import cas


@pytest.fixture
def run(tmp_path):
    """A store, what `storage` gives for it, and what other processes would have in its place."""
    pytest.importorskip("pyarrow")
    from pyarrow.fs import PyFileSystem

    from cas.integrations.ray_filesystem import RunFileSystem
    from cas.integrations.ray_tune import storage
    from cas.integrations.run_store import RunStore

    class Elsewhere(RunFileSystem):
        """A file system of another process: nothing is shared but the store and the area."""

        def __init__(self, store_url, area_url):
            super().__init__(store_url, area_url)
            self.own = RunStore(store_url, area_url)

        @property
        def run_store(self):
            return self.own

    others = []

    def another_process():
        others.append(Elsewhere(files.handler.store_url, files.handler.area_url))
        return PyFileSystem(others[-1])

    url = str(tmp_path / "store")
    with cas.Store.init(url) as store:
        files = storage(url)
        with pytest.MonkeyPatch.context() as environment:  # which `storage` adds callbacks to
            for name in ("RAY_TUNE_CALLBACKS", "RAY_TRAIN_CALLBACKS"):
                environment.delenv(name, raising=False)
            yield SimpleNamespace(url=url, store=store, files=files, another_process=another_process)
        for other in others:
            other.own._close()
        RunStore.close_all()


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Ray on two cores, with a home of its own, and the address of an S3 server that its workers find."""
    pytest.importorskip("ray")
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    home = tmp_path_factory.mktemp("ray-home")
    settings = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "secret-of-nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(home / "nothing"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "nothing"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield SimpleNamespace(settings=settings, endpoint=settings["AWS_ENDPOINT_URL"])
        ray.shutdown()
    server.stop()


@pytest.fixture
def in_ray(ray_cluster, own_surroundings, monkeypatch):
    """The same surroundings as Ray's workers have."""
    from cas.integrations.run_store import RunStore

    for name, value in ray_cluster.settings.items():
        monkeypatch.setenv(name, value)
    yield ray_cluster
    RunStore.close_all()
