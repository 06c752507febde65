"""Six ways in which people train and save, each a tree of checkpoints.

tune    learning-rate and seed sweep from one base, fp32 weights and AdamW state
frozen  every layer frozen but a new head; the whole model saved each time
lora    adapters on the attention layers; even trials save the adapter alone, odd trials the merged model
bf16    sweep as in tune, only the weights saved, cast to bfloat16
pickle  checkpoint.pkl: one dict with a growing history, a frozen table, a NumPy MLP with momentum
        and a growing boosted-tree ensemble
resume  one long run from scratch

Each lies in ``<out>/<scenario>/`` as a training script leaves it::

    base/model.safetensors              the pretrained start (where there is one)
    trial_00/step_0150/model.safetensors
                       optimizer.pt     torch.save(AdamW.state_dict())
                       trainer_state.json
                       config.json
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from tools.bench.workload.corpus import Corpus, batches
from tools.bench.workload.models import Boosted, LoraLinear, NumpyMLP, TinyGPT

__all__ = ["SCALES", "SCENARIOS", "Scale", "Workload"]

SCENARIOS = ("tune", "frozen", "lora", "bf16", "pickle", "resume")

# (learning rate, weight decay) of trial 0, 1, 2 ...: a usual fine-tuning sweep.
SWEEP = (
    (5e-5, 0.01),
    (1e-5, 0.01),
    (1e-4, 0.0),
    (3e-4, 0.01),
    (2e-5, 0.0),
    (1e-3, 0.1),
    (3e-5, 0.1),
    (2e-4, 0.01),
)

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scale:
    """How big a workload is.

    Attributes:
        d_model: width of the language model; also the MLP's hidden layer.
        layers: transformer layers.
        vocab: token ids.
        pretrain_steps: optimiser steps before a sweep starts.
        steps: optimiser steps between two checkpoints.
        trials: trials of a sweep (twice as many in frozen, lora and bf16).
        ckpts: checkpoints a trial.
        resume_ckpts: checkpoints of resume.
    """

    d_model: int
    layers: int
    vocab: int
    pretrain_steps: int
    steps: int
    trials: int
    ckpts: int
    resume_ckpts: int


SCALES = {
    # 0.9 M parameters; all six scenarios together stay below 400 MB
    "small": Scale(128, 3, 2048, 150, 30, 3, 3, 6),
    # 7 M parameters; tune 1.3 GB, resume 1.6 GB
    "medium": Scale(256, 6, 8192, 600, 100, 4, 4, 20),
    # 21 M parameters; tune 7.9 GB, resume 4.9 GB
    "large": Scale(384, 8, 16384, 1000, 150, 8, 4, 20),
}


class Run:
    """An optimiser with linear warm-up and decay, and the log a trainer keeps."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, total: int) -> None:
        self.opt = torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
        warm = max(1, total // 20)
        self.sched = torch.optim.lr_scheduler.LambdaLR(
            self.opt, lambda i: min((i + 1) / warm, max(0.0, (total - i) / total))
        )
        self.step_no = 0
        self.log: list[dict[str, float]] = []

    def step(self, loss: torch.Tensor) -> None:
        """One optimiser step; every tenth is logged."""
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.opt.param_groups[0]["params"], 1.0)
        self.opt.step()
        self.step_no += 1
        if self.step_no % 10 == 0:
            lr = self.sched.get_last_lr()[0]
            self.log.append({"step": self.step_no, "loss": round(loss.item(), 4), "lr": lr})
        self.sched.step()

    def state(self) -> dict[str, Any]:
        """What trainer_state.json holds."""
        return {"global_step": self.step_no, "log_history": self.log}


class Workload:
    """Makes scenarios under one folder; the pretrained base is trained once and kept there."""

    def __init__(self, out: Path, name: str, scale: Scale, seed: int) -> None:
        self.out, self.name, self.scale, self.seed = out, name, scale, seed
        self.corpus = Corpus(scale.vocab)

    def make(self, scenario: str, root: Path) -> None:
        """Train and save one of `SCENARIOS` below ``root``."""
        makers = {
            "tune": self._tune,
            "frozen": self._frozen,
            "lora": self._lora,
            "bf16": self._bf16,
            "pickle": self._pickle,
            "resume": self._resume,
        }
        makers[scenario](root)

    def _new_model(self) -> TinyGPT:
        return TinyGPT(self.scale.vocab, self.scale.d_model, self.scale.layers)

    def _base(self) -> State:
        cache = self.out / f".base-{self.name}-{self.seed}.pt"
        if not cache.exists():
            torch.manual_seed(self.seed)
            model = self._new_model()
            total = self.scale.pretrain_steps
            run = Run(model.parameters(), 1e-3, 0.01, total)
            data = batches(self.corpus.pretrain, self.seed, batch=8)
            for _ in range(total):
                run.step(model.loss(*next(data)))
            print(f"  base: loss {run.log[0]['loss']} -> {run.log[-1]['loss']}", flush=True)
            torch.save(model.state_dict(), cache)
        base: State = torch.load(cache)
        return base

    def _trial(self, number: int) -> tuple[int, float, float]:
        lr, decay = SWEEP[number % len(SWEEP)]
        return self.seed * 1000 + number + 1, lr, decay

    def _fine_tune(self, number: int, start: State) -> Iterator[tuple[TinyGPT, Run]]:
        """The model and its run, at every checkpoint of one fine-tuning trial."""
        seed, lr, decay = self._trial(number)
        torch.manual_seed(seed)
        model = self._new_model()
        model.load_state_dict(start)
        run = Run(model.parameters(), lr, decay, self.scale.steps * self.scale.ckpts)
        data = batches(self.corpus.finetune, seed)
        for _ in range(self.scale.ckpts):
            for _ in range(self.scale.steps):
                run.step(model.loss(*next(data)))
            yield model, run

    def _save(
        self,
        folder: Path,
        *,
        model: State | None = None,
        adapter: State | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """One checkpoint folder, as a Hugging Face style trainer leaves it."""
        folder.mkdir(parents=True)
        if model is not None:
            save_file(model, folder / "model.safetensors", metadata={"format": "pt"})
        if adapter is not None:
            save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        if optimizer is not None:
            torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        if state is not None:
            (folder / "trainer_state.json").write_text(json.dumps(state, indent=2))
        (folder / "config.json").write_text(json.dumps(asdict(self.scale), indent=2))

    def _tune(self, root: Path) -> None:
        base = self._base()
        self._save(root / "base", model=_tensors(base))
        for t in range(self.scale.trials):
            for model, run in self._fine_tune(t, base):
                weights = _tensors(model.state_dict())
                self._save(_step(root, t, run.step_no), model=weights, optimizer=run.opt, state=run.state())

    def _bf16(self, root: Path) -> None:
        base = self._base()
        self._save(root / "base", model=_tensors(base, torch.bfloat16))
        for t in range(2 * self.scale.trials):
            for model, run in self._fine_tune(t, base):
                weights = _tensors(model.state_dict(), torch.bfloat16)
                self._save(_step(root, t, run.step_no), model=weights, state=run.state())

    def _frozen(self, root: Path) -> None:
        base = self._base()
        self._save(root / "base", model=_tensors(base))
        backbone = self._new_model()
        backbone.load_state_dict(base)
        windows, cut_from = self.corpus.labelled_windows(np.random.default_rng(self.seed), 1024, 64)
        with torch.no_grad():  # the backbone never changes, so its output is computed once
            feats = torch.cat([backbone.hidden(w).mean(1) for w in torch.from_numpy(windows).split(64)])
        labels = torch.from_numpy(cut_from)
        d = self.scale.d_model
        for t in range(2 * self.scale.trials):
            seed, lr, decay = self._trial(t)
            torch.manual_seed(seed)
            head = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, len(self.corpus.groups)))
            run = Run(head.parameters(), 10 * lr, decay, self.scale.steps * self.scale.ckpts)
            for _ in range(self.scale.ckpts):
                for _ in range(self.scale.steps):
                    pick = torch.randint(0, len(feats), (32,))
                    run.step(F.cross_entropy(head(feats[pick]), labels[pick]))
                whole = _tensors(base | {f"classifier.{k}": v for k, v in head.state_dict().items()})
                self._save(_step(root, t, run.step_no), model=whole, optimizer=run.opt, state=run.state())

    def _lora(self, root: Path) -> None:
        base = self._base()
        self._save(root / "base", model=_tensors(base))
        for t in range(2 * self.scale.trials):
            seed, lr, decay = self._trial(t)
            torch.manual_seed(seed)
            model = self._new_model()
            model.load_state_dict(base)
            model.requires_grad_(False)
            wrapped: dict[str, LoraLinear] = {}
            for i, block in enumerate(model.h):
                for part in ("qkv", "proj"):
                    wrapped[f"h.{i}.{part}"] = LoraLinear(getattr(block, part))
                    setattr(block, part, wrapped[f"h.{i}.{part}"])
            train = [p for layer in wrapped.values() for p in (layer.lora_A, layer.lora_B)]
            run = Run(train, 3 * lr, decay, self.scale.steps * self.scale.ckpts)
            data = batches(self.corpus.finetune, seed)
            for _ in range(self.scale.ckpts):
                for _ in range(self.scale.steps):
                    run.step(model.loss(*next(data)))
                folder = _step(root, t, run.step_no)
                if t % 2 == 0:
                    pair = {f"{n}.lora_{c}": getattr(w, f"lora_{c}") for n, w in wrapped.items() for c in "AB"}
                    self._save(folder, adapter=_tensors(pair), optimizer=run.opt, state=run.state())
                else:
                    merged = base | {f"{n}.weight": w.merged() for n, w in wrapped.items()}
                    self._save(folder, model=_tensors(merged), state=run.state())

    def _resume(self, root: Path) -> None:
        torch.manual_seed(self.seed + 7)
        model = self._new_model()
        run = Run(model.parameters(), 6e-4, 0.1, self.scale.steps * self.scale.resume_ckpts)
        data = batches(self.corpus.pretrain, self.seed + 7)
        for _ in range(self.scale.resume_ckpts):
            for _ in range(self.scale.steps):
                run.step(model.loss(*next(data)))
            weights = _tensors(model.state_dict())
            self._save(_step(root, 0, run.step_no), model=weights, optimizer=run.opt, state=run.state())

    def _pickle(self, root: Path) -> None:
        vocab, hidden, classes = self.scale.vocab, self.scale.d_model, len(self.corpus.groups)
        table = self._base()["wte.weight"].numpy()  # a frozen table carried in every checkpoint
        windows, labels = self.corpus.labelled_windows(np.random.default_rng(self.seed), 2000, 64)
        counts = np.zeros((len(windows), vocab), dtype=np.float32)
        np.add.at(counts, (np.arange(len(windows))[:, None], windows), 1.0)
        onehot = np.eye(classes, dtype=np.float32)[labels]
        for t in range(self.scale.trials):
            seed, lr, _ = self._trial(t)
            rng = np.random.default_rng(seed)
            mlp = NumpyMLP(rng, vocab, hidden, classes, lr=1e3 * lr)
            boost = Boosted(counts[:, 1:129], classes, eta=0.05 * (t + 1))
            history: list[dict[str, float]] = []
            for k in range(1, self.scale.ckpts + 1):
                for _ in range(self.scale.steps):
                    pick = rng.integers(0, len(counts), 16)
                    loss = mlp.step(counts[pick], onehot[pick])
                    history.append({"loss": loss, "lr": mlp.lr, "epoch": k})
                for _ in range(4):
                    boost.add_round(onehot)
                folder = _step(root, t, k * self.scale.steps)
                folder.mkdir(parents=True)
                content = {
                    "history": history,
                    "epoch": k,
                    "vocab": self.corpus.index,
                    "table": table,
                    "mlp": mlp.params,
                    "momentum": mlp.momentum,
                    "trees": boost.trees,
                    "predictions": boost.scores,
                    "rng": rng.bit_generator.state,
                }
                (folder / "checkpoint.pkl").write_bytes(pickle.dumps(content))


def _step(root: Path, trial: int, step_no: int) -> Path:
    return root / f"trial_{trial:02d}" / f"step_{step_no:04d}"


def _tensors(state: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> State:
    return {name: value.detach().to(dtype or value.dtype).contiguous() for name, value in state.items()}
