"""What a checkpoint is for: predictors, and predicting data sets. No framework is imported before it is used."""

from cas.predictors.batch import BatchFormat
from cas.predictors.batch_predictor import BatchPredictor
from cas.predictors.failures import BatchFailedError, PredictorNotSerializableException
from cas.predictors.lightgbm import LightGBMPredictor
from cas.predictors.lightning import LightningPredictor
from cas.predictors.mlflow import MLflowPredictor
from cas.predictors.predictor import Predictor
from cas.predictors.registry import PREDICTORS, find_predictor, predictor_of
from cas.predictors.sklearn import SklearnPredictor
from cas.predictors.tensorflow import TensorflowPredictor
from cas.predictors.torch import TorchPredictor
from cas.predictors.transformers import TransformersPredictor
from cas.predictors.xgboost import XGBoostPredictor

__all__ = [
    "PREDICTORS",
    "BatchFailedError",
    "BatchFormat",
    "BatchPredictor",
    "LightGBMPredictor",
    "LightningPredictor",
    "MLflowPredictor",
    "Predictor",
    "PredictorNotSerializableException",
    "SklearnPredictor",
    "TensorflowPredictor",
    "TorchPredictor",
    "TransformersPredictor",
    "XGBoostPredictor",
    "find_predictor",
    "predictor_of",
]
