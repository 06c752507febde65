"""The command: make scenarios at one of the scales below a folder."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from tools.bench.workload.scenarios import SCALES, SCENARIOS, Workload


def main(argv: list[str] | None = None) -> int:
    """Make what the arguments ask for; what an earlier call left of a scenario is replaced."""
    parser = argparse.ArgumentParser(prog="tools/bench/run workload", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--scenario", default="all", help=f"names with commas, of {', '.join(SCENARIOS)}; or all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, help="trials (doubled for frozen, lora and bf16)")
    parser.add_argument("--ckpts", type=int, help="checkpoints a trial (and of resume)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads: they change the bytes")
    args = parser.parse_args(argv)

    names = SCENARIOS if args.scenario == "all" else tuple(args.scenario.split(","))
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)

    scale = SCALES[args.scale]
    if args.trials:
        scale = replace(scale, trials=args.trials)
    if args.ckpts:
        scale = replace(scale, ckpts=args.ckpts, resume_ckpts=args.ckpts)
    args.out.mkdir(parents=True, exist_ok=True)
    workload = Workload(args.out, args.scale, scale, args.seed)
    for name in names:
        root = args.out / name
        if root.exists():
            shutil.rmtree(root)
        root.mkdir()
        began = time.perf_counter()
        workload.make(name, root)
        files = [path for path in root.rglob("*") if path.is_file()]
        size_bytes = sum(path.stat().st_size for path in files)
        about = {
            "scenario": name,
            "scale": args.scale,
            "seed": args.seed,
            "threads": args.threads,
            "files": len(files),
            "bytes": size_bytes,
            "settings": asdict(scale),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        (args.out / f"{name}.workload.json").write_text(json.dumps(about, indent=2) + "\n")
        print(f"{name}: {len(files)} files, {size_bytes / 1e6:.1f} MB, {time.perf_counter() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
