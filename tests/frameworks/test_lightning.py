"""LightningCheckpoint: one .ckpt, read without running what is in it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.lightning import LightningCheckpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning.pytorch")

pytestmark = [
    pytest.mark.slow,  # importing Lightning takes several seconds
    # Lightning 2.6 meets torch 2.13, and finds that so little data needs few workers.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
]


class Regressor(lightning.LightningModule):
    """Two layers; its hyper-parameters are saved."""

    def __init__(self, width: int = 4, rate: float = 0.1, options: object = None):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = batch
        return torch.nn.functional.mse_loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)


class Trap:
    """Says so if it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def trained(path: Path, **hyper_parameters: object) -> Regressor:
    """A model after a few steps, which the trainer saved at ``path``."""
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)
    model = Regressor(**hyper_parameters)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, barebones=False,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.save_checkpoint(path)
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file and the model in it."""
    path = tmp_path_factory.mktemp("lightning") / "epoch=1.ckpt"
    return path, trained(path, width=6, rate=0.05)


@pytest.fixture
def x():
    return torch.randn(5, 3)


def test_a_trained_model_predicts_the_same(saved, x):
    """With the hyper-parameters it was saved with, and as a LightningCheckpoint, whoever reads it."""
    path, expected = saved
    made = LightningCheckpoint.from_path(path)
    found = Checkpoint.from_hash(made.hash).typed()
    assert type(found) is LightningCheckpoint
    model = found.get_model(Regressor).eval()
    assert torch.equal(model(x), expected(x))
    assert dict(model.hparams) == {"width": 6, "rate": 0.05, "options": None}


def test_the_file_stays_what_it_was(saved, tmp_path, x):
    """And it may go: nothing is left in a temporary folder, and nothing depends on it."""
    path, expected = saved
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(path.read_bytes())
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("cas-checkpoint-*"))
    made = LightningCheckpoint.from_path(copy)
    copy.unlink()
    assert torch.equal(made.get_model(Regressor).eval()(x), expected(x))
    assert bytes(made.open("model.ckpt").read()) == path.read_bytes()
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("cas-checkpoint-*")) == before


def test_arguments_replace_hyper_parameters(saved):
    """As in Lightning's own ``load_from_checkpoint``."""
    model = LightningCheckpoint.from_path(saved[0]).get_model(Regressor, rate=0.5)
    assert model.hparams.rate == 0.5
    with pytest.raises(FormatError, match=r"(?s)does not fit a Regressor.*size mismatch"):
        LightningCheckpoint.from_path(saved[0]).get_model(Regressor, width=7)


def test_weights_alone_can_be_had(saved, x):
    """As a state dict, and into a module that is there."""
    path, expected = saved
    made = LightningCheckpoint.from_path(path)
    assert made.get_state_dict().keys() == expected.state_dict().keys()
    given = Regressor(width=6)
    assert made.get_model(given) is given
    assert torch.equal(given(x), expected(x))


def test_a_directory_of_lightnings_is_read(saved, x, tmp_path):
    """Whatever the file is called."""
    path, expected = saved
    assert torch.equal(LightningCheckpoint.from_directory(path.parent).get_model(Regressor).eval()(x), expected(x))
    weights = TorchCheckpoint.from_model(expected)
    other = LightningCheckpoint.from_checkpoint(weights).get_model(Regressor, width=6)
    assert torch.equal(other.eval()(x), expected(x))


def test_objects_among_hyper_parameters_need_permission(tmp_path, x, monkeypatch):
    """The refusal names the type; the weights can be had all the same."""
    expected = trained(tmp_path / "a.ckpt", options=argparse.Namespace(depth=2))
    made = LightningCheckpoint.from_path(tmp_path / "a.ckpt")
    with pytest.raises(RefusedError, match=r"model\.ckpt .*argparse\.Namespace(?s:.*)get_state_dict\(\).*allow_pickle"):
        made.get_model(Regressor)
    assert made.get_state_dict().keys() == expected.state_dict().keys()
    model = made.get_model(Regressor, allow_pickle=True).eval()
    assert torch.equal(model(x), expected(x))
    assert model.hparams.options == argparse.Namespace(depth=2)
    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")
    assert made.get_model(Regressor).hparams.options.depth == 2


def test_a_hostile_file_runs_nothing(saved, tmp_path):
    """Neither for the weights nor for the model."""
    content = torch.load(saved[0], weights_only=True)
    torch.save(content | {"callbacks": Trap()}, tmp_path / "hostile.ckpt")
    made = LightningCheckpoint.from_path(tmp_path / "hostile.ckpt")
    with pytest.raises(RefusedError):
        made.get_model(Regressor)
    made.get_state_dict()
    assert not Path("sprung").exists()
    with pytest.raises(RefusedError, match="weights_only"):
        made.get_model(Regressor, weights_only=False)


def test_an_old_lightning_is_not_trusted(saved, monkeypatch):
    """It calls whatever function hyper-parameters name."""
    made = LightningCheckpoint.from_path(saved[0])
    with monkeypatch.context() as patch:
        patch.setattr("lightning.__version__", "2.6.1")
        with pytest.raises(RefusedError, match=r"2\.6\.1.*lightning>=2\.6\.6"):
            made.get_model(Regressor)
    assert made.get_model(Regressor).hparams.width == 6


def test_bad_input_is_refused_in_words(tmp_path):
    """No file, a file that is none of Lightning's, a class that is none of its modules."""
    with pytest.raises(NotFoundError, match=r"from_directory"):
        LightningCheckpoint.from_path(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(b"nothing")
    made = LightningCheckpoint.from_path(tmp_path / "a.ckpt")
    with pytest.raises((FormatError, RefusedError), match=r"model\.ckpt"):
        made.get_model(Regressor)
    with pytest.raises((FormatError, RefusedError), match=r"model\.ckpt"):
        made.get_model(Regressor, allow_pickle=True)
    with pytest.raises(FormatError, match="no LightningModule"):
        made.get_model(torch.nn.Linear)


def test_a_preprocessor_travels_along(saved):
    """In its slot."""
    made = LightningCheckpoint.from_path(saved[0], preprocessor={"mean": 2.0}, allow_pickle=True)
    assert made.get_preprocessor(allow_pickle=True) == {"mean": 2.0}
