"""A tour on real input: a sweep of small networks that learn to read digits, kept in a cas store.

Trains six scikit-learn classifiers on the digits data set, saves five checkpoints of
each as a training script would, and puts them into a fresh store as it goes. Then it
asks the store which is best, pulls that one by its hash to a new folder, compares it
byte for byte, and scores it again. Run it by ``./tools/demo``.
"""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import cas

RUN = "digits"
CHECKPOINTS = 5
EPOCHS_BETWEEN = 4
CAS = Path(sys.executable).with_name("cas")

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial of the sweep tries."""

    hidden: tuple[int, ...]
    learning_rate: float

    @property
    def name(self) -> str:
        """Short, unique in the sweep, and fit for a ref."""
        return f"{'x'.join(map(str, self.hidden))}-lr{self.learning_rate:g}"


SWEEP = [Trial(hidden, rate) for hidden in ((256, 128), (512, 256)) for rate in (3e-4, 1e-3, 3e-3)]


@dataclass(frozen=True, slots=True)
class Digits:
    """8 x 8 pictures of handwritten digits, and which digit each is, to learn from and to test on."""

    train_x: Array
    test_x: Array
    train_y: NDArray[np.int64]
    test_y: NDArray[np.int64]

    @classmethod
    def load(cls) -> Digits:
        """The data set that comes with scikit-learn, a quarter of it kept for testing."""
        digits = load_digits()
        pictures = (digits.data / 16).astype(np.float32)
        return cls(*train_test_split(pictures, digits.target, test_size=0.25, random_state=0))


def save(folder: Path, model: MLPClassifier, trial: Trial, epoch: int, accuracy: float) -> None:
    """Write a checkpoint as a training script does: weights, optimizer, and what they belong to."""
    folder.mkdir(parents=True)
    layers = {f"layer{i}.{kind}": array for kind, arrays in (("weight", model.coefs_), ("bias", model.intercepts_))
              for i, array in enumerate(arrays)}  # fmt: skip
    np.savez(folder / "model.npz", **layers)
    adam = model._optimizer  # scikit-learn has no public name for it, and training cannot go on without
    moments = {f"{kind}.{i}": array for kind, arrays in (("first", adam.ms), ("second", adam.vs))
               for i, array in enumerate(arrays)}  # fmt: skip
    np.savez(folder / "optimizer.npz", **moments)
    state = {"epoch": epoch, "accuracy": accuracy, "hidden": trial.hidden, "learning_rate": trial.learning_rate}
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")


def score(folder: Path, data: Digits) -> float:
    """Load the weights of a saved checkpoint and classify the test pictures with them."""
    with np.load(folder / "model.npz") as saved:
        depth = len(saved.files) // 2
        x = data.test_x
        for i in range(depth):
            x = x @ saved[f"layer{i}.weight"] + saved[f"layer{i}.bias"]
            if i < depth - 1:
                x = np.maximum(x, 0)
    return float((x.argmax(1) == data.test_y).mean())


def train(trial: Trial, data: Digits, saved: Path, store: cas.Store) -> tuple[int, int, float]:
    """Train one trial, saving each checkpoint and putting it.

    Returns:
        The trial's logical bytes, what the store wrote for them, and its last accuracy.
    """
    model = MLPClassifier(trial.hidden, learning_rate_init=trial.learning_rate, batch_size=64, max_iter=1,
                          warm_start=True, random_state=0)  # fmt: skip
    logical = stored = 0
    accuracy = 0.0
    for number in range(1, CHECKPOINTS + 1):
        for _ in range(EPOCHS_BETWEEN):
            model.partial_fit(data.train_x, data.train_y, classes=np.arange(10))
        epoch = number * EPOCHS_BETWEEN
        accuracy = float(model.score(data.test_x, data.test_y))
        folder = saved / trial.name / f"epoch_{epoch:02d}"
        save(folder, model, trial, epoch, accuracy)
        result = store.put(
            folder,
            ref=trial.name,
            run=RUN,
            trial=trial.name,
            step=epoch,
            metrics={"accuracy": accuracy, "loss": float(model.loss_)},
            params={"hidden": list(trial.hidden), "learning_rate": trial.learning_rate},
        )
        logical += result.logical_bytes
        stored += result.stored_bytes
    return logical, stored, accuracy


def command(console: Console, *words: str) -> None:
    """Show a command and what it prints, as a person at a terminal would see it."""
    console.print(f"\n[bold green]$[/] [bold]cas {' '.join(words)}[/]", soft_wrap=True)
    printed = subprocess.run([CAS, *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    console.print(printed.rstrip(), markup=False, highlight=False, soft_wrap=True)


def same_files(left: Path, right: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(path.name for path in left.iterdir())
    if names != sorted(path.name for path in right.iterdir()):
        return False
    return filecmp.cmpfiles(left, right, names, shallow=False) == (names, [], [])


def tour(place: Path, console: Console) -> bool:
    """Everything, below an empty folder; whether all that was promised held."""
    data = Digits.load()
    saved, url = place / "outputs", place / "store"
    os.environ["CAS_STORE"] = str(url)  # for the commands; the library is told

    console.rule("[bold]train, save, put")
    console.print(f"{len(data.train_x)} pictures to learn from; {len(SWEEP)} trials of {CHECKPOINTS} checkpoints\n")
    began = time.perf_counter()
    with cas.open(url, create=True) as store:
        for trial in SWEEP:
            logical, stored, accuracy = train(trial, data, saved, store)
            sizes = f"{logical / 1e6:5.1f} MB saved, {stored / 1e6:5.1f} MB stored"
            console.print(f"  {trial.name:<16} accuracy {accuracy:.4f}   {sizes}")
        trained_s = time.perf_counter() - began

        again = time.perf_counter()
        folders = sorted(path.parent for path in saved.rglob("state.json"))
        new_bytes = sum(store.put(folder).new_bytes for folder in folders)
        again_s = time.perf_counter() - again
        console.print(f"\ntrained and stored in {trained_s:.1f} s; put all {len(folders)} again in {again_s:.2f} s: "
                      f"{new_bytes} new bytes")  # fmt: skip

        console.rule("[bold]ask")
        command(console, "log", SWEEP[-1].name)
        command(console, "best", "accuracy", "--max")
        best = store.best("accuracy", maximize=True, run=RUN)[0]
        name = str(best.checkpoint)

        console.rule("[bold]pull it back by its hash")
        target = place / "pulled"
        command(console, "pull", name, str(target))
        original = saved / best.trial / f"epoch_{best.step:02d}"
        equal, scored = same_files(original, target), score(target, data)
        console.print(f"\nbyte for byte as it was saved: {'yes' if equal else 'NO'}")
        console.print(f"accuracy when it was saved {best.metrics['accuracy']:.6f}, scored again {scored:.6f}")

        stats = store.stats()
    console.rule("[bold]what it took")
    table = Table(show_header=False, box=None)
    table.add_column(justify="left")
    table.add_column(justify="right")
    checkpoint_bytes = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    for label, value in (
        ("checkpoints", f"{stats.checkpoints}"),
        ("saved as folders (logical)", f"{checkpoint_bytes / 1e6:.1f} MB"),
        ("different content (unique)", f"{stats.unique_bytes / 1e6:.1f} MB"),
        ("in the store (stored)", f"{stats.pack_bytes / 1e6:.1f} MB"),
        ("stored / logical", f"{stats.pack_bytes / checkpoint_bytes:.3f}"),
    ):
        table.add_row(label, value)
    console.print(table)
    return equal and new_bytes == 0 and scored == best.metrics["accuracy"]


def main(arguments: Sequence[str]) -> int:
    """Tour in the folder that is named, or in a temporary one."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    console = Console(width=110 if not sys.stdout.isatty() else None)
    if arguments:
        place = Path(arguments[0]).absolute()
        if place.exists() and any(place.iterdir()):
            console.print(f"{place} is not empty; name a new folder")
            return 2
        place.mkdir(parents=True, exist_ok=True)
        held = tour(place, console)
        console.print(f"\nlook around: export CAS_STORE={place / 'store'}; {CAS} log")
    else:
        with tempfile.TemporaryDirectory(prefix="cas-demo-") as folder:
            held = tour(Path(folder), console)
    if not held:
        console.print("[bold red]the pulled checkpoint is not what was saved: this is a bug in cas")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
