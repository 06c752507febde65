"""TransformersPredictor: Hugging Face pipelines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

import numpy as np

from cas.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.transformers import TransformersCheckpoint
from cas.errors import FormatError, NotFoundError
from cas.predictors.batch import PREDICTIONS, VALUE_COLUMN, Batch, select_columns
from cas.predictors.conversion import stacked
from cas.predictors.predictor import Predictor, as_checkpoint

__all__ = ["TransformersPredictor"]


class TransformersPredictor(Predictor):
    """Answers by a pipeline: a row's texts (or what else the task takes) in, a column for each field of its result."""

    def __init__(self, pipeline: Any = None, preprocessor: Any | None = None, use_gpu: bool = False) -> None:
        """A ``transformers.Pipeline``, what batches go through before it, and whether it runs on a GPU."""
        super().__init__(preprocessor)
        self.pipeline = pipeline
        self.use_gpu = use_gpu

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        pipeline_cls: Any = None,
        model_cls: Any = None,
        pretrained_model_kwargs: Mapping[str, Any] | None = None,
        use_gpu: bool = False,
        allow_pickle: bool | None = None,
        **pipeline_kwargs: Any,
    ) -> Self:
        """Make a pipeline of a model, and of the tokenizer if there is one.

        Args:
            checkpoint: of any class, with the files of ``save_pretrained``.
            pipeline_cls: a subclass of ``transformers.Pipeline``; without it, ``task=`` says which.
            model_cls: an Auto class or a model's; by default the one that it was saved as.
            pretrained_model_kwargs: to its ``from_pretrained``.
            use_gpu: whether it runs on the first GPU.
            allow_pickle: whether a pickled preprocessor may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.
            pipeline_kwargs: to ``transformers.pipeline``, such as ``task="text-classification"``.

        Raises:
            FormatError: neither a class nor a task says which pipeline; or there is no such model.
            RefusedError: code that came with the model would have to run.
        """
        transformers = require("transformers", "transformers", "a TransformersPredictor")
        made = as_checkpoint(checkpoint, TransformersCheckpoint)
        task = pipeline_kwargs.pop("task", None)
        if task is None and pipeline_cls is None:
            raise FormatError('which pipeline? give task="text-classification", or another task, or pipeline_cls=')
        if model_cls is None:
            model_cls = _model_class(transformers, made)
        parts = {"model": made.get_model(model_cls, **(pretrained_model_kwargs or {}))}
        if "tokenizer" not in pipeline_kwargs:
            with suppress(NotFoundError):  # pictures and sound need none, and a pipeline that does says so
                parts["tokenizer"] = made.get_tokenizer()
        if use_gpu:
            pipeline_kwargs.setdefault("device", 0)
        preprocessor = checkpoint.get_preprocessor(allow_pickle=allow_pickle)
        if pipeline_cls is not None:
            return cls(pipeline_cls(**parts, **pipeline_kwargs), preprocessor, use_gpu)
        try:
            return cls(transformers.pipeline(task, **parts, **pipeline_kwargs), preprocessor, use_gpu)
        except KeyError as error:
            raise FormatError(f"task={task!r} is none that transformers knows: {error.args[0]}") from error

    def predict(self, data: Batch, feature_columns: list[str] | list[int] | None = None, **kwargs: Any) -> Batch:
        """Answer a batch.

        Args:
            data: the batch; of one column the pipeline is given the values, of several a dict for each row.
            feature_columns: which of its columns the pipeline is given; numbers for an array's.
            kwargs: to the pipeline, such as ``batch_size`` or ``top_k``.
        """
        return super().predict(data, feature_columns=feature_columns, **kwargs)

    def _predict_pandas(self, data: Any, feature_columns: list[Any] | None = None, **kwargs: Any) -> Any:
        pandas = require("pandas", "predict", "a TransformersPredictor")
        if feature_columns is not None:
            if list(data.columns) == [VALUE_COLUMN]:
                array = stacked(data[VALUE_COLUMN].to_numpy())
                if array.ndim != 2:
                    raise FormatError(f"feature_columns needs an array of two dimensions, not one of {array.shape}")
                data = pandas.DataFrame(array[:, feature_columns])
            else:
                data = select_columns(data, feature_columns)
        return pandas.DataFrame(_columns(list(self.pipeline(_rows(data), **kwargs))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(pipeline={type(self.pipeline).__name__}, use_gpu={self.use_gpu})"


def _model_class(transformers: Any, checkpoint: TransformersCheckpoint) -> Any:
    """The class that the model was saved as, which its ``config.json`` names; only one of transformers' own."""
    try:
        with checkpoint.open("config.json") as file:
            names = json.loads(file.read()).get("architectures") or [""]
    except (NotFoundError, ValueError, AttributeError) as error:
        raise FormatError(f"{checkpoint!r} has no config.json of a model's: {error}") from error
    found = getattr(transformers, str(names[0]), None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise FormatError(f"{checkpoint!r} is of no model that transformers has ({names[0]!r}); give model_cls=")
    return found


def _rows(frame: Any) -> list[Any]:
    """What the pipeline is given for each row."""
    if len(frame.columns) == 1:
        values = [value.tolist() if isinstance(value, np.generic) else value for value in frame.iloc[:, 0]]
        # An array of texts with two dimensions has its text as each row's only item.
        return [value.item() if isinstance(value, np.ndarray) and value.size == 1 else value for value in values]
    rows: list[Any] = frame.to_dict("records")
    return rows


def _columns(results: list[Any]) -> dict[str, list[Any]]:
    """A pipeline's results, one for each row, by field; whatever has no fields is a column of its own."""
    flat = [result[0] if isinstance(result, list) and len(result) == 1 else result for result in results]
    if all(isinstance(result, dict) for result in flat):
        names = list(dict.fromkeys(name for result in flat for name in result))
        return {name: [result.get(name) for result in flat] for name in names}
    return {PREDICTIONS: flat}
