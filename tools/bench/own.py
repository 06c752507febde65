"""cas as a tool to compare, in both of its forms.

A training loop calls the library: one process, which stays open (`InProcess`; the
child is `session`). A script calls the command: one process for each checkpoint,
start-up included (`Command`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.bench.checkpoints import Checkpoint
from tools.bench.peers import CommandTool, Tool
from tools.bench.process import Cost, run

__all__ = ["CAS", "Command", "InProcess"]

CAS = Path(sys.executable).with_name("cas")


class Command(CommandTool):
    """``cas put`` and ``cas pull``, one command for each checkpoint; a trial's checkpoints share a ref."""

    key = "cas-command"
    name = "cas (command)"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.env = {**self.env, "CAS_STORE": str(self.store)}
        self._hashes: dict[str, str] = {}

    def prepare(self) -> None:
        run([CAS, "init", self.store], env=self.env)

    def put(self, checkpoints: Sequence[Checkpoint], label: str) -> Cost:
        total = Cost(0.0, 0)
        for checkpoint in checkpoints:
            key = f"{label}-{checkpoint.name}"
            printed, cost = run(self.put_command(checkpoint, key), cwd=checkpoint.path, env=self.env)
            self._hashes[key] = printed.strip()
            total += cost
        return total

    def put_command(self, checkpoint: Checkpoint, key: str) -> Sequence[str | Path]:
        return [CAS, "put", ".", "--ref", checkpoint.trial]

    def pull_command(self, key: str) -> Sequence[str | Path]:
        return [CAS, "pull", self._hashes[key], "."]


class InProcess(Tool):
    """``store.put`` and ``store.pull``, one process for each pass; what it pays once, its imports, is not timed."""

    key = "cas"
    name = "cas (library)"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._hashes: dict[str, str] = {}

    def prepare(self) -> None:
        run([CAS, "init", self.store], env=self.env)

    def put(self, checkpoints: Sequence[Checkpoint], label: str) -> Cost:
        names = [f"{label}-{checkpoint.name}" for checkpoint in checkpoints]
        hashes, cost = self._session("put", [[str(c.path), c.trial] for c in checkpoints])
        self._hashes.update(zip(names, hashes, strict=True))
        return cost

    def pull(self, checkpoints: Sequence[Checkpoint], label: str, target: Path) -> Cost:
        return self._session("pull", [[self._hashes[f"{label}-{c.name}"], str(target / c.name)] for c in checkpoints])[
            1
        ]

    def _session(self, action: str, items: list[list[str]]) -> tuple[list[str], Cost]:
        job = json.dumps({"action": action, "store": str(self.store), "items": items})
        printed, cost = run([sys.executable, "-m", "tools.bench.session"], env=self.env, stdin=job)
        answer = json.loads(printed)
        return answer["hashes"], Cost(answer["wall_s"], cost.rss_bytes)
