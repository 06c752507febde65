"""cas and the usual copiers before an S3 server: each brings a tree of checkpoints up and down.

A tree is a folder with a folder for each checkpoint. Endpoint and keys come from
the usual AWS environment. A tool that is not installed is left out and named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.bench.checkpoints import Checkpoint
from tools.bench.own import CAS
from tools.bench.process import Cost, run

__all__ = ["S3_TOOLS", "AwsCopy", "Cas", "CasLibrary", "LocalStore", "S3Tool"]


class LocalStore:
    """A store of cas on this machine: what is pushed.

    Attributes:
        path: its folder.
        hashes: of the checkpoints in it, by name.
    """

    def __init__(self, path: Path) -> None:
        """Make an empty one at ``path``."""
        self.path = path
        self.hashes: dict[str, str] = {}
        run([CAS, "init", path])

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; those of a trial share a ref."""
        printed, _ = run([CAS, "put", checkpoint.path, "--ref", checkpoint.trial, "--store", self.path])
        self.hashes[checkpoint.name] = printed.strip()


class S3Tool(ABC):
    """Something that copies a tree to a prefix of a bucket and back, by commands as one would type them.

    Attributes:
        key: its name in commands; ``name``: in tables.
        needs: the programs it calls.
        url: the prefix, which nothing else uses.
        place: a folder of its own.
        local: a store that has the tree's checkpoints.
        endpoint: of the server, where it is not the environment's.
    """

    key: str
    name: str
    needs: Sequence[str] = ()

    def __init__(self, url: str, place: Path, local: LocalStore, endpoint: str = "") -> None:
        self.url, self.place, self.local, self.endpoint = url, place, local, endpoint
        self._caches = 0

    @classmethod
    def missing(cls) -> list[str]:
        """Which of the programs it calls are not installed."""
        return [program for program in cls.needs if _find(program) is None]

    def prepare(self) -> None:
        """Make its folder, and ready for the first push; not timed."""
        self.place.mkdir(parents=True)

    @abstractmethod
    def push(self, tree: Path) -> Cost:
        """Bring all of the tree up."""

    @abstractmethod
    def pull(self, target: Path) -> Cost:
        """Bring all that was pushed down, into the folder ``target``, which does not exist, in the tool's own form."""

    @abstractmethod
    def pull_one(self, name: str, target: Path) -> Cost:
        """Bring one checkpoint down as files, into ``target``, which does not exist; nothing is known or cached."""

    def restore(self, pulled: Path, name: str, target: Path) -> Path:
        """The folder with the files of one checkpoint out of what `pull` left; not timed."""
        return pulled / name

    def _run(self, *argv: str | Path, env: Mapping[str, str] | None = None, stdin: str = "") -> tuple[str, Cost]:
        """A command whose caches are empty."""
        self._caches += 1
        cache = {"CAS_CACHE_DIR": str(self.place / f"cache-{self._caches}")}
        server = {"AWS_ENDPOINT_URL": self.endpoint, "S3_ENDPOINT_URL": self.endpoint} if self.endpoint else {}
        return run(argv, env={**cache, **server, **(env or {})}, stdin=stdin)


class Cas(S3Tool):
    """``cas push --all`` from a local store, ``cas clone`` to a new one, ``cas pull --from`` for one checkpoint."""

    key = "cas"
    name = "cas (command)"

    def prepare(self) -> None:
        super().prepare()
        self._run(CAS, "init", self.url)

    def push(self, tree: Path) -> Cost:
        return self._run(CAS, "push", "--all", self.url, "--store", self.local.path)[1]

    def pull(self, target: Path) -> Cost:
        return self._run(CAS, "clone", self.url, target)[1]

    def pull_one(self, name: str, target: Path) -> Cost:
        return self._run(CAS, "pull", self.local.hashes[name], target, "--from", self.url)[1]

    def restore(self, pulled: Path, name: str, target: Path) -> Path:
        self._run(CAS, "pull", self.local.hashes[name], target, "--store", pulled)
        return target

    def first_tensor(self, name: str) -> tuple[int, float, Cost]:
        """One tensor of a checkpoint as an array in a new process: its bytes, seconds in there, the process's cost."""
        program = [sys.executable, "-m", "tools.bench.first_tensor"]
        printed, cost = self._run(*program, self.url, self.local.hashes[name])
        answer = json.loads(printed)
        return answer["nbytes"], answer["wall_s"], cost


class CasLibrary(Cas):
    """The same by the library, in a process whose start-up and imports are not timed (`tools.bench.session`)."""

    key = "cas-library"
    name = "cas (library)"

    def push(self, tree: Path) -> Cost:
        return self._session("push", str(self.local.path), [self.url])

    def pull(self, target: Path) -> Cost:
        return self._session("clone", self.url, [str(target)])

    def pull_one(self, name: str, target: Path) -> Cost:
        return self._session("pull", self.url, [[self.local.hashes[name], str(target)]])

    def _session(self, action: str, store: str, items: Sequence[object]) -> Cost:
        job = json.dumps({"action": action, "store": store, "items": items})
        printed, cost = self._run(sys.executable, "-m", "tools.bench.session", stdin=job)
        return Cost(json.loads(printed)["wall_s"], cost.rss_bytes)


class AwsCopy(S3Tool):
    """``aws s3 cp --recursive``, as it is configured."""

    key = "aws"
    name = "aws s3 cp"
    needs = ("aws",)

    def push(self, tree: Path) -> Cost:
        return self._copy(tree, f"{self.url}/")

    def pull(self, target: Path) -> Cost:
        return self._copy(f"{self.url}/", target)

    def pull_one(self, name: str, target: Path) -> Cost:
        return self._copy(f"{self.url}/{name}/", target)

    def _copy(self, source: str | Path, target: str | Path) -> Cost:
        return self._run(_find("aws") or "aws", "s3", "cp", "--only-show-errors", "--recursive", source, target)[1]


class S5cmd(S3Tool):
    """``s5cmd cp``, as it is configured."""

    key = "s5cmd"
    name = "s5cmd cp"
    needs = ("s5cmd",)

    def push(self, tree: Path) -> Cost:
        return self._copy(f"{tree}/", f"{self.url}/")

    def pull(self, target: Path) -> Cost:
        return self._copy(f"{self.url}/*", f"{target}/")

    def pull_one(self, name: str, target: Path) -> Cost:
        return self._copy(f"{self.url}/{name}/*", f"{target}/")

    def _copy(self, source: str, target: str) -> Cost:
        # It reads S3_ENDPOINT_URL, and not what the others read.
        server = {"S3_ENDPOINT_URL": self.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")}
        program = _find("s5cmd") or "s5cmd"
        return self._run(program, "--log", "error", "cp", source, target, env={k: v for k, v in server.items() if v})[1]


S3_TOOLS: tuple[type[S3Tool], ...] = (CasLibrary, Cas, AwsCopy, S5cmd)


def _find(program: str) -> str | None:
    """A program of this environment, which need not be active, or of the caller's."""
    return shutil.which(program, path=os.pathsep.join([str(CAS.parent), os.environ.get("PATH", os.defpath)]))
