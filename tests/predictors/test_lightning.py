"""LightningPredictor: a module out of a .ckpt by hash."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

import lightning.pytorch as pl
import torch

from cas import Checkpoint
from cas.checkpoint.frameworks.lightning import LightningCheckpoint
from cas.predictors import LightningPredictor, predictor_of

pytestmark = [
    pytest.mark.slow,  # importing Lightning takes several seconds
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
]


class Regressor(pl.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = batch
        return torch.nn.functional.mse_loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Halving:
    def transform_batch(self, batch):
        return {name: array / 2 for name, array in batch.items()}


def test_predict(tmp_path):
    """A module trained by Lightning, by hash and its class, answers as it did; a preprocessor can be given."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(16, 3), torch.randn(16, 1))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    model = Regressor(width=5)
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=8))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = Checkpoint.from_hash(LightningCheckpoint.from_path(tmp_path / "x.ckpt").hash)

    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    expected = model.eval()(torch.from_numpy(x)).detach().numpy()
    predictor = LightningPredictor.from_checkpoint(checkpoint, Regressor)
    np.testing.assert_allclose(predictor.predict(x)["predictions"], expected, rtol=1e-6)
    assert predictor_of(checkpoint) is LightningPredictor
    assert not predictor.model.training

    halved = LightningPredictor.from_checkpoint(checkpoint, Regressor, preprocessor=Halving())
    answer = halved.predict({"x": x * 2})
    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-6)
