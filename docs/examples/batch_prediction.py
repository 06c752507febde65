"""A boosted model, stored once, predicts by its hash: a DataFrame here, a ray.data.Dataset in the same way."""

import tempfile

import numpy as np
import pandas as pd
import xgboost

import cas
from cas import Checkpoint
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.predictors import BatchPredictor, XGBoostPredictor

rng = np.random.default_rng(0)
table = pd.DataFrame(rng.random((1000, 3), dtype=np.float32), columns=["a", "b", "c"])
booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(table, table["a"] + table["b"]), num_boost_round=20)

with tempfile.TemporaryDirectory() as folder:
    cas.open(f"{folder}/store", create=True).close()
    digest = XGBoostCheckpoint.from_model(booster, store=f"{folder}/store").hash

    predictor = BatchPredictor.from_checkpoint(Checkpoint.from_hash(digest, store=f"{folder}/store"), XGBoostPredictor)
    answer = predictor.predict(table, batch_size=256, keep_columns=["a"])
    assert np.allclose(answer["predictions"], booster.predict(xgboost.DMatrix(table)))
    print(answer.head())
