"""A scikit-learn model that MLflow saved, kept in a store, moved to another, and loaded by MLflow there."""

import tempfile

import mlflow.sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import cas
from cas.checkpoint.frameworks.mlflow import MLflowCheckpoint

inputs, labels = load_iris(return_X_y=True)
model = LogisticRegression(max_iter=500).fit(inputs, labels)

with tempfile.TemporaryDirectory() as folder:
    mlflow.sklearn.save_model(model, f"{folder}/model", serialization_format="skops")
    for name in ("here", "there"):
        cas.open(f"{folder}/{name}", create=True).close()

    checkpoint = MLflowCheckpoint.from_model(f"{folder}/model", store=f"{folder}/here")
    uri = checkpoint.to_uri(f"cas+file://{folder}/there")
    print(checkpoint.flavors)

    moved = MLflowCheckpoint.from_uri(uri)
    assert moved.hash == checkpoint.hash
    loaded = mlflow.sklearn.load_model(moved.to_mlflow(f"{folder}/moved"))
    assert (loaded.predict(inputs) == model.predict(inputs)).all()
    print(uri.partition("#")[2])
