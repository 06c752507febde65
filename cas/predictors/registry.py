"""Predictors by name: short ones for those that cas brings, import paths for all others."""

from __future__ import annotations

import importlib

from cas.checkpoint import Checkpoint
from cas.errors import FormatError, NotFoundError
from cas.predictors.predictor import Predictor

__all__ = ["PREDICTORS", "find_predictor", "predictor_of"]

PREDICTORS = {
    "lightgbm": "cas.predictors.lightgbm:LightGBMPredictor",
    "lightning": "cas.predictors.lightning:LightningPredictor",
    "mlflow": "cas.predictors.mlflow:MLflowPredictor",
    "sklearn": "cas.predictors.sklearn:SklearnPredictor",
    "tensorflow": "cas.predictors.tensorflow:TensorflowPredictor",
    "torch": "cas.predictors.torch:TorchPredictor",
    "transformers": "cas.predictors.transformers:TransformersPredictor",
    "xgboost": "cas.predictors.xgboost:XGBoostPredictor",
}
"""Where each of cas's own predictors is, by its short name."""


def find_predictor(name: str) -> type[Predictor]:
    """The class of a predictor.

    Args:
        name: a short one (``xgboost``), or ``package.module:Class`` or ``package.module.Class``, which is imported.

    Raises:
        NotFoundError: there is no such predictor.
        FormatError: it is the name of something else.
    """
    module, colon, attribute = PREDICTORS.get(name, name).partition(":")
    if not colon:
        module, _, attribute = module.rpartition(".")
    if not module:
        raise NotFoundError(f"no predictor {name!r}: give one of {', '.join(PREDICTORS)}, or package.module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and misses something of its own
        raise NotFoundError(f"no predictor {name!r}: there is no module {error.name}") from error
    except AttributeError as error:
        raise NotFoundError(f"no predictor {name!r}: {module} has no {attribute}") from error
    if not (isinstance(found, type) and issubclass(found, Predictor)):
        raise FormatError(f"{name!r} is no subclass of cas.predictors.Predictor")
    return found


def predictor_of(checkpoint: Checkpoint) -> type[Predictor]:
    """The predictor for the class that a checkpoint was made as, by one of cas's own classes that it is or is below.

    Raises:
        NotFoundError: it was made as none of them.
    """
    for kind in type(checkpoint.typed()).__mro__:
        name = kind.__module__.rpartition(".")[2]
        if kind.__module__ == f"cas.checkpoint.frameworks.{name}" and name in PREDICTORS:
            return find_predictor(name)
    raise NotFoundError(
        f"{checkpoint!r} does not say which framework its model is of: name a predictor, one of"
        f" {', '.join(PREDICTORS)}, or package.module:Class"
    )
