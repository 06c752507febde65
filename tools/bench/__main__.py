"""The command behind ``./tools/bench/run``: which benchmark, on what, and where results go."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from tools.bench import report
from tools.bench.compare import TOOLS, compare, summarize
from tools.bench.large_file import BLOCK_BYTES
from tools.bench.memory import LAYOUTS
from tools.bench.peers import Tool
from tools.bench.process import floor_bytes, run
from tools.bench.s3 import measure as measure_s3
from tools.bench.s3_tools import S3_TOOLS, S3Tool

T = TypeVar("T", bound=type[Tool] | type[S3Tool])

DEFAULT_SCENARIOS = "tune,frozen,bf16,pickle"
DEFAULT_OUT = Path("build/bench")


def main(argv: list[str]) -> int:
    """Run what the arguments ask for."""
    if argv[:1] == ["workload"]:
        # Torch is imported only there: this program's memory would count as its children's.
        from tools.bench.workload.__main__ import main as make_workload

        return make_workload(argv[1:])
    parser = argparse.ArgumentParser(prog="tools/bench/run", description="Measure cas, and its peers beside it.")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for KIND.md and KIND.json")
    shared.add_argument("--tmp", type=Path, help="folder for everything that is made and removed")

    kind = kinds.add_parser("compare", parents=[shared], help="put and pull checkpoints with cas and its peers")
    kind.add_argument("--scale", choices=("small", "medium", "large"), default="small")
    kind.add_argument("--scenario", default=DEFAULT_SCENARIOS, help="names with commas; also lora, resume")
    kind.add_argument("--workload", type=Path, help="where they lie, if made before by: run workload --out DIR")
    kind.add_argument("--tools", help=f"names with commas, of: {', '.join(tool.key for tool in TOOLS)}")
    kind.add_argument("--rounds", type=int, default=3, help="how often everything is done; medians are shown")
    kind.set_defaults(function=_compare)

    kind = kinds.add_parser("memory", parents=[shared], help="peak memory of putting and pulling one large file")
    kind.add_argument("--size-gib", type=float, default=8)
    kind.add_argument("--layout", choices=LAYOUTS, action="append", help="what the file is like (default: each)")
    kind.set_defaults(function=_memory)

    kind = kinds.add_parser("index", parents=[shared], help="rows a second in and out of the index")
    kind.add_argument("--chunks", type=int, default=1_000_000)
    kind.set_defaults(function=_index)

    kind = kinds.add_parser("s3", parents=[shared], help="push and pull checkpoints, and read a tensor, over S3")
    kind.add_argument("--url", required=True, help="s3://bucket/prefix; keys and endpoint as AWS_… variables say")
    kind.add_argument("--scale", choices=("small", "medium", "large"), default="small")
    kind.add_argument("--scenario", default="tune", help="one name")
    kind.add_argument("--workload", type=Path, help="where it lies, if made before by: run workload --out DIR")
    kind.add_argument("--checkpoints", type=int, default=5, help="how many of the scenario's")
    kind.add_argument("--large-gib", type=float, default=1, help="a checkpoint to read one tensor of; 0 for none")
    kind.add_argument("--tools", help=f"names with commas, of: {', '.join(tool.key for tool in S3_TOOLS)}")
    kind.add_argument("--rounds", type=int, default=3, help="how often everything is done; medians are shown")
    kind.set_defaults(function=_s3)

    kinds.add_parser("workload", help="make the checkpoints and keep them", add_help=False)
    args = parser.parse_args(argv)
    if args.tmp:
        args.tmp = args.tmp.resolve()  # tools run in folders of their own
        args.tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cas-bench-", dir=args.tmp) as scratch:
        args.function(args, Path(scratch))
    return 0


def _compare(args: argparse.Namespace, scratch: Path) -> None:
    chosen, missing = _choose(TOOLS, args.tools)
    scenarios = _scenarios(args, scratch)
    runs = list(compare(scenarios, chosen, args.rounds, scratch, _tell))
    summaries = summarize(runs)
    markdown = report.comparison_markdown(summaries, missing)
    _finish(args.out, "compare", markdown, floor_rss_bytes=floor_bytes(), summaries=summaries, runs=runs)


def _s3(args: argparse.Namespace, scratch: Path) -> None:
    if "," in args.scenario:
        raise SystemExit(f"s3 takes one scenario, not {args.scenario}")
    chosen, missing = _choose(S3_TOOLS, args.tools)
    (scenario,) = _scenarios(args, scratch)
    large_bytes = int(args.large_gib * 2**30) // BLOCK_BYTES * BLOCK_BYTES
    results = measure_s3(scenario, args.checkpoints, large_bytes, args.url, chosen, args.rounds, scratch, _tell)
    _finish(args.out, "s3", report.s3_markdown(results, missing), results=results)


def _choose(tools: Sequence[T], keys: str | None) -> tuple[list[T], dict[str, list[str]]]:
    """The tools with these keys, or all, that are installed; what the others lack, by their names."""
    wanted = keys.split(",") if keys else [tool.key for tool in tools]
    if unknown := set(wanted) - {tool.key for tool in tools}:
        raise SystemExit(f"no such tool: {', '.join(sorted(unknown))}")
    chosen = [tool for tool in tools if tool.key in wanted]
    missing = {tool.name: tool.missing() for tool in chosen if tool.missing()}
    if len(missing) == len(chosen):
        raise SystemExit(f"none of these tools is installed: {', '.join(missing)}")
    return [tool for tool in chosen if tool.name not in missing], missing


def _scenarios(args: argparse.Namespace, scratch: Path) -> list[Path]:
    """The folders of the scenarios that are asked for, made now if they were not before."""
    workload = args.workload
    if workload is None:
        workload = scratch / "workload"
        command = [sys.executable, "-m", "tools.bench.workload", "--out", str(workload)]
        _tell(f"making the {args.scale} workload: {args.scenario}")
        run([*command, "--scale", args.scale, "--scenario", args.scenario])
    scenarios = [workload / name for name in args.scenario.split(",")]
    if absent := [str(scenario) for scenario in scenarios if not scenario.is_dir()]:
        raise SystemExit(f"no such folder: {', '.join(absent)}; make it by: tools/bench/run workload --out {workload}")
    return scenarios


def _memory(args: argparse.Namespace, scratch: Path) -> None:
    from tools.bench.memory import measure

    size_bytes = int(args.size_gib * 2**30) // BLOCK_BYTES * BLOCK_BYTES
    results = {}
    for layout in args.layout or LAYOUTS:
        _tell(f"{size_bytes / 2**30:g} GiB, {layout}")
        place = scratch / layout
        place.mkdir()
        results[layout] = {name: asdict(cost) for name, cost in measure(size_bytes, layout, place).items()}
    rows = [
        [f"{name} {layout}", f"{cost['rss_bytes'] / 1e6:.0f}", f"{size_bytes / 1e6 / cost['wall_s']:.0f}"]
        for layout, costs in results.items()
        for name, cost in costs.items()
    ]
    title = f"### One file of {size_bytes / 2**30:g} GiB\n\n"
    markdown = title + report.markdown_table(["", "peak RSS MB", "MB/s"], rows) + "\n"
    _finish(args.out, "memory", markdown, size_bytes=size_bytes, costs=results)


def _index(args: argparse.Namespace, scratch: Path) -> None:
    from tools.bench.index import measure

    steps = measure(args.chunks, scratch)
    rows = [[step.name, f"{step.rows_per_s:,.0f}", f"{step.wall_s:.1f}"] for step in steps]
    size_mb = (scratch / "index.sqlite").stat().st_size / 1e6
    title = f"### {args.chunks:,} chunks, an index of {size_mb:.0f} MB\n\n"
    markdown = title + report.markdown_table(["", "rows/s", "s"], rows) + "\n"
    _finish(args.out, "index", markdown, index_mb=size_mb, steps=[asdict(step) for step in steps])


def _finish(out: Path, name: str, markdown: str, **results: object) -> None:
    report.write(out, name, markdown, **results)
    print(markdown)
    _tell(f"written: {out / name}.md and .json")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
