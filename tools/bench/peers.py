"""The tools that are compared with cas, each as it is used: one command for every checkpoint.

`Tool` is what a comparison needs; `CommandTool` is one whose put and pull are
single commands. A tool that is not installed is left out and named.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.bench.checkpoints import Checkpoint
from tools.bench.process import Cost, run

__all__ = ["PEERS", "CommandTool", "Tool"]


class Tool(ABC):
    """Something that keeps checkpoints, working in one folder of its own.

    Attributes:
        key: its name in commands; ``name``: in tables.
        needs: the programs it calls.
        place: its folder, empty when made. Stored bytes are what lies in ``place/store``.
    """

    key: str
    name: str
    needs: Sequence[str] = ()

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = place / "store"
        self.env: Mapping[str, str] = {"HOME": str(place), "XDG_CACHE_HOME": str(place / "cache")}

    @classmethod
    def missing(cls) -> list[str]:
        """Which of the programs it calls are not installed."""
        return [program for program in cls.needs if shutil.which(program) is None]

    def prepare(self) -> None:
        """Make an empty store; not timed."""
        self.store.mkdir()

    @abstractmethod
    def put(self, checkpoints: Sequence[Checkpoint], label: str) -> Cost:
        """Keep all of them, in order; ``label`` tells this pass from others over the same ones."""

    @abstractmethod
    def pull(self, checkpoints: Sequence[Checkpoint], label: str, target: Path) -> Cost:
        """Bring back what the pass ``label`` kept, each to ``target/<name>``, which exists and is empty."""


class CommandTool(Tool):
    """A tool whose put and pull are one command each."""

    @abstractmethod
    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        """What keeps the checkpoint under ``key``; it runs in the checkpoint's folder."""

    @abstractmethod
    def pull_command(self, key: str) -> Sequence[str | Path]:
        """What brings ``key`` back into the folder it runs in."""

    def put(self, checkpoints: Sequence[Checkpoint], label: str) -> Cost:
        total = Cost(0.0, 0)
        for checkpoint in checkpoints:
            command = self.put_command(checkpoint, f"{label}-{checkpoint.name}")
            total += run(command, cwd=checkpoint.path, env=self.env)[1]
        return total

    def pull(self, checkpoints: Sequence[Checkpoint], label: str, target: Path) -> Cost:
        total = Cost(0.0, 0)
        for checkpoint in checkpoints:
            command = self.pull_command(f"{label}-{checkpoint.name}")
            total += run(command, cwd=target / checkpoint.name, env=self.env)[1]
        return total


class Copy(CommandTool):
    """``cp -r`` to a folder for each checkpoint: what most people do. Bytes may still be in the page cache."""

    key = "cp"
    name = "cp -r"
    needs: Sequence[str] = ("cp",)

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        return ["cp", "-r", "--reflink=never", ".", self.store / key]

    def pull_command(self, key: str) -> Sequence[str | Path]:
        return ["cp", "-r", "--reflink=never", f"{self.store / key}/.", "."]


class CopySynced(Copy):
    """The same, and on disk when it returns, as a put by cas is."""

    key = "cp-sync"
    name = "cp -r, sync"
    needs = ("cp", "sync", "find", "sh")

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        script = 'cp -r --reflink=never . "$1" && find "$1" -exec sync {} +'
        return ["sh", "-c", script, "sh", self.store / key]


class TarZstd(CommandTool):
    """One compressed archive for each checkpoint; nothing is shared between them."""

    key = "tar"
    name = "tar, zstd -1 -T2"
    needs = ("tar", "zstd", "sh")

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        return ["sh", "-c", 'tar -cf - . | zstd -q -1 -T2 -o "$1"', "sh", self.store / f"{key}.tar.zst"]

    def pull_command(self, key: str) -> Sequence[str | Path]:
        return ["sh", "-c", 'zstd -q -dc "$1" | tar -xf -', "sh", self.store / f"{key}.tar.zst"]


class Borg(CommandTool):
    """BorgBackup without encryption, zstd level 1, chunks of about 64 KiB: with its own 2 MiB it finds less twice."""

    key = "borg"
    name = "borg zstd,1"
    needs = ("borg",)

    def prepare(self) -> None:
        run(["borg", "init", "--encryption", "none", self.store], env=self.env)

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        command = ["borg", "create", "--compression", "zstd,1", "--chunker-params", "buzhash,12,20,16,4095"]
        return [*command, f"{self.store}::{key}", "."]

    def pull_command(self, key: str) -> Sequence[str | Path]:
        return ["borg", "extract", f"{self.store}::{key}"]


class Restic(CommandTool):
    """restic with its automatic compression; it always encrypts."""

    key = "restic"
    name = "restic"
    needs = ("restic",)

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.env = {**self.env, "RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(self.store)}

    def prepare(self) -> None:
        run(["restic", "init"], env=self.env)

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        return ["restic", "--quiet", "backup", "--tag", key, "."]

    def pull_command(self, key: str) -> Sequence[str | Path]:
        return ["restic", "--quiet", "restore", "latest", "--tag", key, "--target", "."]


PEERS: tuple[type[Tool], ...] = (Copy, CopySynced, TarZstd, Borg, Restic)
