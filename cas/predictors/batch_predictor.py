"""BatchPredictor: a whole data set through a model, on Ray Data or in this process, with equal answers."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self

from cas.checkpoint import Checkpoint
from cas.checkpoint.permission import pickle_is_allowed
from cas.errors import FormatError, RefusedError
from cas.predictors.batch import Batch, check_batch, is_frame, is_table, size_bytes
from cas.predictors.failures import BatchFailedError
from cas.predictors.in_process import answer_pieces, joined
from cas.predictors.predictor import FunctionPredictor, Predictor
from cas.predictors.ray_data import Workers, answer_dataset, errored_batches
from cas.predictors.scoring import Model, Question
from cas.predictors.sources import is_path, iter_given, iter_memory, iter_parquet, parquet_bytes
from cas.progress import SILENT, Progress

__all__ = ["BatchPredictor"]

DEFAULT_BATCH_SIZE = 4096


class BatchPredictor:
    """Predicts data sets of any size with a checkpoint's model, which is loaded once in each process that predicts."""

    def __init__(self, checkpoint: Checkpoint, predictor_cls: type[Predictor], **predictor_kwargs: Any) -> None:
        """Nothing is loaded yet.

        Args:
            checkpoint: of any class and view; one from `Checkpoint.from_hash` alone will do.
            predictor_cls: what makes a model of it.
            predictor_kwargs: to its ``from_checkpoint``.
        """
        self._checkpoint = checkpoint
        self._predictor_class = predictor_cls
        self._options = predictor_kwargs
        self._override: tuple[Any | None] | None = None  # what set_preprocessor was given, if it was called
        self._own: tuple[Any | None] | None = None  # the checkpoint's, once it was read
        self._loaded: dict[tuple[bool, bool], Predictor] = {}  # the last one used, by what it was made for
        self._errored: list[BatchFailedError] = []
        self._tally: Any | None = None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, predictor_cls: type[Predictor], **kwargs: Any) -> Self:
        """The same as the constructor."""
        return cls(checkpoint, predictor_cls, **kwargs)

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Callable[..., Any]) -> Self:
        """One that calls a function.

        Args:
            pandas_udf: takes a DataFrame and `predict`'s further keyword arguments, gives a DataFrame.
        """
        # By value: this checkpoint says nothing that a store should keep.
        nothing = Checkpoint.from_dict({"function": True}).by_value()
        return cls(nothing, FunctionPredictor, function=pandas_udf)

    def get_preprocessor(self) -> Any | None:
        """What batches go through before the model: what `set_preprocessor` said, else the checkpoint's own.

        Raises:
            RefusedError: that is pickled, and nobody allowed to load it.
        """
        if self._override is not None:
            return self._override[0]
        if self._own is None:
            given = {name: self._options[name] for name in ("allow_pickle", "trusted") if name in self._options}
            found = self._options.get("preprocessor")
            self._own = (self._checkpoint.get_preprocessor(**given) if found is None else found,)
        return self._own[0]

    def set_preprocessor(self, preprocessor: Any | None) -> None:
        """Replace it, or by None leave it out; the checkpoint stays as it is."""
        self._override = (preprocessor,)

    @property
    def errored_batches(self) -> tuple[BatchFailedError, ...]:
        """Batches that the last `predict` has left out so far, each with its rows and the reason."""
        return tuple(self._errored) if self._tally is None else errored_batches(self._tally)

    def predict(
        self,
        data: Any,
        *,
        feature_columns: Sequence[str] | None = None,
        keep_columns: Sequence[str] | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        min_scoring_workers: int = 1,
        max_scoring_workers: int | None = None,
        num_cpus_per_worker: float | None = None,
        num_gpus_per_worker: float | None = None,
        separate_gpu_stage: bool = True,
        ray_remote_args: Mapping[str, Any] | None = None,
        max_errored_batches: int = 0,
        progress: Progress = SILENT,
        **predict_kwargs: Any,
    ) -> Any:
        """Predict a data set: preprocess, take the features, ask the model, keep columns; batch by batch.

        Args:
            data: a ``ray.data.Dataset``, which runs on Ray; or, in this process, a pandas DataFrame, an Arrow
                Table, an array, a dict of arrays, the path of a Parquet file or of a directory of them, or an
                iterator of batches.
            feature_columns: columns of the preprocessed batch that the model is given, in this order; all by default.
            keep_columns: columns of the preprocessed batch to stand beside the predictions; they replace equal names.
            batch_size: rows.
            min_scoring_workers, max_scoring_workers: actors on Ray, which adds some while there is work and room.
            num_cpus_per_worker: on Ray; by default 1, and 0 with a GPU.
            num_gpus_per_worker: on Ray; more than 0 also turns on ``use_gpu`` of predictors that have it.
            separate_gpu_stage: False runs the preprocessor in the workers that have a GPU, rather than before them.
            ray_remote_args: further arguments for Ray's actors.
            max_errored_batches: so many batches that fail are left out, and are in `errored_batches` then.
            progress: told of the input's bytes; not on Ray, which shows its own.
            predict_kwargs: to the predictor's ``predict``.

        Returns:
            For a data set in memory the same form. For a path or an iterator an iterator, in bounded memory: of
            Arrow Tables, or of what the batches were. For a Ray dataset another one, which is lazy.

        Raises:
            BatchFailedError: a batch failed; the message names its rows.
            FormatError: ``data`` is nothing of the kind, or columns are named of an array, which has none.
        """
        if batch_size < 1 or max_errored_batches < 0:
            raise FormatError(f"batch_size={batch_size} or max_errored_batches={max_errored_batches} is too small")
        question = Question(feature_columns, tuple(keep_columns or ()), predict_kwargs)
        preprocessor = self.get_preprocessor()
        gpus = num_gpus_per_worker or 0
        # One that a predictor class brings itself, rather than with the checkpoint, stays in the predictor.
        model = self._model(gpus, preprocesses=preprocessor is None and self._override is None)
        self._errored, self._tally = [], None
        if _is_dataset(data):
            cpus = num_cpus_per_worker if num_cpus_per_worker is not None else 0 if gpus else 1
            answers, self._tally = answer_dataset(
                data,
                model,
                preprocessor,
                question,
                Workers(min_scoring_workers, max_scoring_workers, cpus, gpus, ray_remote_args or {}),
                batch_size=batch_size,
                separate_stage=separate_gpu_stage or not gpus,
                max_errored_batches=max_errored_batches,
            )
            return answers
        predictor = self._load(model)

        def answer(pieces: Iterator[Any], total_bytes: int | None) -> Iterator[Batch]:
            return answer_pieces(
                predictor, preprocessor, pieces, question, total_bytes=total_bytes,
                max_errored_batches=max_errored_batches, errored=self._errored, progress=progress,
            )  # fmt: skip

        if is_path(data):
            columns = None
            if preprocessor is None and feature_columns is not None:
                columns = list(dict.fromkeys([*feature_columns, *question.keep_columns]))
            return answer(iter_parquet(data, batch_size, columns), parquet_bytes(data))
        if _is_iterator(data):
            return answer(iter_given(data, batch_size), None)
        check_batch(data)
        question.refuse_array(data)
        return joined(answer(iter_memory(data, batch_size), size_bytes(data)), data)

    def predict_pipelined(self, *_: Any, **__: Any) -> NoReturn:
        """Not there any more: Ray's windows of a dataset went with Ray 2.7, since all datasets stream.

        Raises:
            RefusedError: always; it says so.
        """
        raise RefusedError("Ray has no pipelined datasets any more, for all its datasets stream: use predict()")

    def _model(self, gpus: float, *, preprocesses: bool) -> Model:
        options = dict(self._options)
        parameters = inspect.signature(self._predictor_class.from_checkpoint).parameters
        if gpus > 0 and "use_gpu" in parameters:
            options.setdefault("use_gpu", True)
        if "allow_pickle" in parameters:  # the permission is this process's, wherever the model is loaded
            options.setdefault("allow_pickle", pickle_is_allowed(None))
        return Model(self._checkpoint, self._predictor_class, options, preprocesses)

    def _load(self, model: Model) -> Predictor:
        """The predictor, kept for the next call."""
        made_for = (bool(model.options.get("use_gpu")), model.preprocesses)
        if made_for not in self._loaded:
            self._loaded = {made_for: model.load()}
        return self._loaded[made_for]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(checkpoint={self._checkpoint}, predictor_cls={self._predictor_class.__name__})"


def _is_dataset(data: object) -> bool:
    """Whether it is Ray's; it can only be one if somebody imported Ray Data."""
    module = sys.modules.get("ray.data")
    return module is not None and isinstance(data, module.Dataset)


def _is_iterator(data: object) -> bool:
    """Whether it makes batches, rather than being one."""
    if is_frame(data) or is_table(data) or isinstance(data, dict | str | bytes | os.PathLike):
        return False
    return isinstance(data, Iterable) and not hasattr(data, "__array__")
