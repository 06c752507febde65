"""`to_air_checkpoint`: the checkpoint class that fits a model, by the model's type.

The early Ray AIR had such a function in each framework's module; here one does for all. Nothing is imported to find
out what a model is: it can only be of a framework that is loaded.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.frameworks.mlflow_flavors import DESCRIPTION_PATH
from cas.errors import FormatError

__all__ = ["to_air_checkpoint"]

_MLFLOW_URI = re.compile(r"(runs|models|mlflow-artifacts|file):/")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a kind of model is known, and what makes its checkpoint.

    Attributes:
        description: for people.
        module: of cas's, that has the class.
        constructor: the class and its method.
        fits: whether a model is of this kind.
    """

    description: str
    module: str
    constructor: str
    fits: Callable[[Any], bool]

    def make(self, model: Any, settings: Mapping[str, Any]) -> Checkpoint:
        """The model's checkpoint."""
        found: Any = importlib.import_module(f"cas.checkpoint.frameworks.{self.module}")
        for name in self.constructor.split("."):
            found = getattr(found, name)
        checkpoint: Checkpoint = found(model, **settings)
        return checkpoint


def to_air_checkpoint(model: Any, **settings: Any) -> Checkpoint:
    """A checkpoint of a model, of the class that fits it.

    Args:
        model: a PyTorch, Lightning, transformers or Keras model, a booster or an estimator of XGBoost, LightGBM or
            scikit-learn, a state dict of PyTorch, a pytree of JAX arrays, or where an MLflow model is.
        settings: passed on to that class's constructor: ``preprocessor``, ``store``, ``allow_pickle`` and its own.

    Returns:
        What ``TorchCheckpoint.from_model``, ``SklearnCheckpoint.from_estimator`` and so on return.

    Raises:
        FormatError: nothing fits it; the message lists what would.
    """
    for rule in _RULES:
        if rule.fits(model):
            return rule.make(model, settings)
    known = ", ".join(rule.description for rule in _RULES)
    raise FormatError(
        f"a {type(model).__module__}.{type(model).__qualname__} is no model that cas knows; these are: {known}"
    )


def _instance_of(*names: str) -> Callable[[Any], bool]:
    """Whether a value is an instance of one of these classes, each ``module:class``, of modules that are loaded."""

    def fits(model: Any) -> bool:
        for name in names:
            module, _, attribute = name.partition(":")
            kind = getattr(sys.modules.get(module), attribute, None)
            if isinstance(kind, type) and isinstance(model, kind):
                return True
        return False

    return fits


_is_tensor = _instance_of("torch:Tensor")


def _is_state_dict(model: Any) -> bool:
    return isinstance(model, Mapping) and bool(model) and all(map(_is_tensor, model.values()))


def _is_pytree(model: Any) -> bool:
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(model))


def _is_mlflow_model(model: Any) -> bool:
    if isinstance(model, str) and _MLFLOW_URI.match(model):
        return True
    return isinstance(model, str | os.PathLike) and Path(model, DESCRIPTION_PATH).is_file()


# The first that fits: boosters' estimators are scikit-learn's too, and models of most others are torch's modules.
_RULES = (
    _Rule("a Keras model", "tensorflow", "TensorflowCheckpoint.from_model", _instance_of("keras:Model")),
    _Rule(
        "a transformers model", "transformers", "TransformersCheckpoint.from_model",
        _instance_of("transformers:PreTrainedModel"),
    ),
    _Rule(
        "a LightningModule", "lightning", "LightningCheckpoint.from_model",
        _instance_of("lightning.pytorch:LightningModule", "pytorch_lightning:LightningModule"),
    ),
    _Rule("a torch.nn.Module", "torch", "TorchCheckpoint.from_model", _instance_of("torch.nn:Module")),
    _Rule("a state dict of PyTorch", "torch", "TorchCheckpoint.from_state_dict", _is_state_dict),
    _Rule(
        "an XGBoost booster or estimator", "xgboost", "XGBoostCheckpoint.from_model",
        _instance_of("xgboost:Booster", "xgboost:XGBModel"),
    ),
    _Rule(
        "a LightGBM booster or estimator", "lightgbm", "LightGBMCheckpoint.from_model",
        _instance_of("lightgbm:Booster", "lightgbm:LGBMModel"),
    ),
    _Rule(
        "a scikit-learn estimator", "sklearn", "SklearnCheckpoint.from_estimator",
        _instance_of("sklearn.base:BaseEstimator"),
    ),
    _Rule("a pytree of JAX arrays", "jax", "JaxCheckpoint.from_pytree", _is_pytree),
    _Rule("an MLflow model's directory or URI", "mlflow", "MLflowCheckpoint.from_model", _is_mlflow_model),
)  # fmt: skip
