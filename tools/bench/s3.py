"""cas beside the usual copiers before an S3 server, and how soon the first tensor is there.

For each round and tool, in this order, each tool in a prefix of its own:

push      all checkpoints from this machine to the server; cas has them in a local store
pull      all of them from the server to this machine; cas makes a local store of them
cold pull each checkpoint by itself, as files, by one command that knows and caches nothing

Then, with one checkpoint of the scenario and a large one on the server, again in turns: one
tensor of each as an array, beside bringing down all of it. Everything that comes down is
compared byte for byte after the clock has stopped. Requests are counted in passes of their
own, which nobody times, by a proxy before the server.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.checkpoints import Checkpoint, find_checkpoints, logical_bytes, require_same, warm
from tools.bench.large_file import make_safetensors
from tools.bench.process import settle
from tools.bench.s3_tools import AwsCopy, Cas, LocalStore, S3Tool

if TYPE_CHECKING:
    from cas.testing.requests import CountingProxy

__all__ = ["ONE_TENSOR_INSIDE", "PASSES", "Moved", "Results", "Start", "Traffic", "measure"]

PASSES = ("push", "pull", "cold pull")
ONE_TENSOR_INSIDE = "one tensor, start-up and imports aside"
LARGE_TENSOR_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Moved:
    """One tool's round: seconds of each of `PASSES`, all checkpoints together."""

    round_number: int
    tool: str
    wall_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the wire in a pass that was not timed.

    Attributes:
        way: the tool, or how a checkpoint or tensor was brought.
        name: the pass (of a cold pull, one checkpoint alone), or the checkpoint.
        requests: how many of each method; a listing counts as ``LIST``, not as the GET that it is.
        sent_bytes, received_bytes: of all bodies.
    """

    way: str
    name: str
    requests: dict[str, int]
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Start:
    """How long it takes in one round until a checkpoint, or one tensor of it, is there.

    Attributes:
        way: how it was brought.
        name: the checkpoint's.
        wanted_bytes: of the checkpoint, or of the tensor.
        wall_s: start-up included, where ``way`` does not say otherwise.
    """

    round_number: int
    way: str
    name: str
    wanted_bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured.

    Attributes:
        logical_bytes: the size of all ``checkpoints`` together.
        load: the machine's load average before and after: more than this benchmark and the server, if others were
            at work too.
    """

    scenario: str
    checkpoints: list[str]
    logical_bytes: int
    rounds: int
    load: tuple[float, float]
    moved: list[Moved]
    starts: list[Start]
    traffic: list[Traffic]

    def speed(self, tool: str, name: str) -> float:
        """Logical MB/s of a tool's pass, the median of all rounds."""
        return statistics.median(self.logical_bytes / 1e6 / m.wall_s[name] for m in self.moved if m.tool == tool)

    def times_aws(self, tool: str, name: str) -> float | None:
        """The same as a multiple of what ``aws s3 cp`` did in the same round; None if that was left out."""
        by_aws = {m.round_number: m.wall_s[name] for m in self.moved if m.tool == AwsCopy.name}
        mine = [m for m in self.moved if m.tool == tool and m.round_number in by_aws]
        return statistics.median(by_aws[m.round_number] / m.wall_s[name] for m in mine) if mine else None


def measure(
    scenario: Path,
    count: int,
    large_bytes: int,
    url: str,
    tools: Sequence[type[S3Tool]],
    rounds: int,
    scratch: Path,
    tell: Callable[[str], None],
) -> Results:
    """Measure ``tools`` on the first ``count`` checkpoints of a scenario.

    Args:
        large_bytes: the size of the checkpoint that is made for the first tensor; 0 for none.
        url: a prefix of a bucket that exists; a folder of its own is made in it, and removed.
        scratch: for everything that is made here.
    """
    load = os.getloadavg()[0]
    bench = _Bench(scenario, count, f"{url.rstrip('/')}/cas-bench-{os.urandom(4).hex()}", scratch, tell)
    names = [checkpoint.name for checkpoint in bench.checkpoints]
    moved = list(bench.move(tools, rounds))
    traffic = list(bench.count(tools))
    starts: list[Start] = []
    if Cas in tools:
        subjects = [bench.checkpoints[-1], *([bench.add_large(large_bytes)] if large_bytes else [])]
        for found in bench.start(subjects, tools, rounds):
            if isinstance(found, Start):
                starts.append(found)
            else:
                traffic.append(found)
    return Results(
        scenario.name, names, bench.logical_bytes, rounds, (load, os.getloadavg()[0]), moved, starts, traffic
    )


class _Bench:
    """The input of one run, here and in a store of this machine, and what is done with it."""

    def __init__(self, scenario: Path, count: int, url: str, scratch: Path, tell: Callable[[str], None]) -> None:
        self._url, self._scratch, self._tell = url, scratch, tell
        # Counting needs a server that is spoken to in plain HTTP, as those on this machine are.
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        self._endpoint = endpoint if endpoint.startswith("http://") else ""
        self._tree = scratch / "tree"
        self._local = LocalStore(scratch / "local")
        self.checkpoints: list[Checkpoint] = []
        for checkpoint in find_checkpoints(scenario)[:count]:
            shutil.copytree(checkpoint.path, self._tree / checkpoint.name)
            self._add(checkpoint.trial, checkpoint.name)
        self.logical_bytes = logical_bytes(self._tree)

    def add_large(self, size_bytes: int) -> Checkpoint:
        """Make one more checkpoint, of float32 tensors of 4 MiB each."""
        self._tell(f"making a checkpoint of {size_bytes / 1e6:.0f} MB")
        (self._tree / "large").mkdir()
        make_safetensors(self._tree / "large" / "model.safetensors", size_bytes, LARGE_TENSOR_BYTES)
        return self._add("large", "large")

    def move(self, tools: Sequence[type[S3Tool]], rounds: int) -> Iterator[Moved]:
        """Time `PASSES`."""
        for number in range(1, rounds + 1):
            # Another order each round: nobody always runs after the heaviest.
            turn = (number - 1) % len(tools)
            for kind in (*tools[turn:], *tools[:turn]):
                self._tell(f"round {number} of {rounds}: {kind.name}")
                with self._using(kind) as tool:
                    wall_s = {}
                    for name, work in self._passes(tool, self.checkpoints).items():
                        warm(self._tree)
                        warm(self._local.path)
                        settle(self.logical_bytes)
                        wall_s[name] = work()
                    for checkpoint in self.checkpoints:
                        require_same(checkpoint.path, tool.place / "cold" / checkpoint.name)
                        restored = tool.restore(tool.place / "pulled", checkpoint.name, tool.place / "restored")
                        require_same(checkpoint.path, restored)
                        shutil.rmtree(restored)
                    yield Moved(number, kind.name, wall_s)

    def count(self, tools: Sequence[type[S3Tool]]) -> Iterator[Traffic]:
        """Count the requests of `PASSES`; nothing where the server cannot be stood before."""
        if not self._endpoint:
            return
        for kind in tools:
            self._tell(f"counting requests: {kind.name}")
            with self._counting() as proxy, self._using(kind, proxy.endpoint) as tool:
                for name, work in self._passes(tool, self.checkpoints[-1:]).items():
                    proxy.clear()
                    work()
                    yield _traffic(kind.name, name, proxy)

    def start(
        self, subjects: Sequence[Checkpoint], tools: Sequence[type[S3Tool]], rounds: int
    ) -> Iterator[Start | Traffic]:
        """Time how soon checkpoints and tensors of them are there, and count what goes over the wire for it."""
        with ExitStack() as stack:
            # The copiers read one copy, which the first of them made.
            copiers = [kind for kind in tools if not issubclass(kind, Cas)]
            ready = [stack.enter_context(self._using(Cas))]
            ready += [stack.enter_context(self._using(kind)) for kind in copiers[:1]]
            self._tell("bringing everything up")
            for tool in ready:
                tool.push(self._tree)
            ready += [kind(ready[1].url, ready[1].place, self._local) for kind in copiers[1:]]
            for number in range(1, rounds + 1):
                for subject in subjects:
                    self._tell(f"first tensor, round {number} of {rounds}: {subject.name}")
                    turn = (number - 1) % len(ready)
                    for tool in (*ready[turn:], *ready[:turn]):
                        for way, wanted_bytes, wall_s in _ways(tool, subject):
                            yield Start(number, way, subject.name, wanted_bytes, wall_s)
            if self._endpoint:
                with self._counting() as proxy:
                    for tool in ready:
                        tool.endpoint = proxy.endpoint
                        for subject in subjects:
                            for way, _, _ in _ways(tool, subject):
                                yield _traffic(way, subject.name, proxy)
                                proxy.clear()

    def _counting(self) -> CountingProxy:
        from cas.testing.requests import CountingProxy  # not for all benchmarks: see `tools.bench.process`

        return CountingProxy(self._endpoint)

    def _add(self, trial: str, name: str) -> Checkpoint:
        self.checkpoints.append(Checkpoint(trial, name, self._tree / name))
        self._local.put(self.checkpoints[-1])
        return self.checkpoints[-1]

    @contextmanager
    def _using(self, kind: type[S3Tool], endpoint: str = "") -> Iterator[S3Tool]:
        """A tool in a prefix and a folder of its own, which are removed afterwards."""
        tool = kind(f"{self._url}/{kind.key}", self._scratch / kind.key, self._local, endpoint)
        try:
            tool.prepare()
            yield tool
        finally:
            shutil.rmtree(tool.place)
            _remove(tool.url)

    def _passes(self, tool: S3Tool, cold: Sequence[Checkpoint]) -> dict[str, Callable[[], float]]:
        """`PASSES` by name; each gives its seconds."""
        return {
            "push": lambda: tool.push(self._tree).wall_s,
            "pull": lambda: tool.pull(tool.place / "pulled").wall_s,
            "cold pull": lambda: sum(tool.pull_one(c.name, tool.place / "cold" / c.name).wall_s for c in cold),
        }


def _ways(tool: S3Tool, subject: Checkpoint) -> Iterator[tuple[str, int, float]]:
    """Bring a checkpoint, and a tensor of it, in all ways that the tool has: which, how many bytes, seconds."""
    size_bytes = logical_bytes(subject.path)
    if isinstance(tool, Cas):
        settle(size_bytes)
        tensor_bytes, inside_s, cost = tool.first_tensor(subject.name)
        yield "one tensor", tensor_bytes, cost.wall_s
        yield ONE_TENSOR_INSIDE, tensor_bytes, inside_s
    target = tool.place / "all"
    settle(size_bytes)
    cost = tool.pull_one(subject.name, target)
    require_same(subject.path, target)
    shutil.rmtree(target)
    yield f"all of it, {tool.name}", size_bytes, cost.wall_s


def _traffic(way: str, name: str, proxy: CountingProxy) -> Traffic:
    methods = Counter("LIST" if request.is_list else request.method for request in proxy)
    return Traffic(way, name, dict(methods), proxy.sent_bytes, proxy.received_bytes)


def _remove(url: str) -> None:
    """Everything under a prefix of a bucket."""
    import s3fs

    server = s3fs.S3FileSystem()
    if server.exists(url):
        server.rm(url, recursive=True)
