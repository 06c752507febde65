"""The engine on Ray Data: a pool of actors, each with the model in memory, over blocks that stream through.

What travels to the workers is one object in Ray's store with the checkpoint's reference in it, never the weights: an
actor gets them from the checkpoint's store, and through the node's cache, so that a node downloads them
once. The preprocessor is a stage of its own, on whatever CPUs are free.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cas.checkpoint.extras import require
from cas.predictors.batch import Batch, BatchFormat, count_rows, slice_rows
from cas.predictors.conversion import to_numpy, to_pandas
from cas.predictors.failures import BatchFailedError
from cas.predictors.preprocessing import preprocess
from cas.predictors.scoring import Model, Question, answer_batch

__all__ = ["Workers", "answer_dataset"]

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Workers:
    """The pool of actors.

    Attributes:
        least, most: how many; Ray starts more than the least while there is work and room. None bounds nothing.
        cpus, gpus: what each takes of the cluster.
        remote_args: what else ``ray.remote`` is told of them.
    """

    least: int = 1
    most: int | None = None
    cpus: float = 1
    gpus: float = 0
    remote_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Job:
    """What an actor is made with, besides the preprocessor where that is in the actor."""

    model: Model
    question: Question
    preprocessor: Any | None
    max_errored_batches: int


def answer_dataset(
    data: Any,
    model: Model,
    preprocessor: Any | None,
    question: Question,
    workers: Workers,
    *,
    batch_size: int,
    separate_stage: bool,
    max_errored_batches: int,
) -> tuple[Any, Any | None]:
    """A ``ray.data.Dataset`` of the answers, which are made when it is read, in the order of the rows.

    Args:
        data: a ``ray.data.Dataset``.
        model: what each actor makes.
        preprocessor: what the batches go through first.
        question: what is asked.
        workers: the pool.
        batch_size: rows of a batch.
        separate_stage: whether the preprocessor runs before the actors rather than in them.
        max_errored_batches: so many batches that fail are left out.

    Returns:
        The dataset; and the actor that puts failed batches down, None if not one may fail.
    """
    ray = require("ray", "ray", "a prediction on a Ray dataset")
    require("ray.data", "ray", "a prediction on a Ray dataset")
    form = model.predictor_class.batch_format()
    if separate_stage and preprocessor is not None:
        data, preprocessor = _preprocessed(data, preprocessor, form, batch_size), None
    tally = ray.remote(num_cpus=0)(_Tally).remote(max_errored_batches) if max_errored_batches else None
    job = ray.put(_Job(model, question, preprocessor, max_errored_batches))
    answers = data.map_batches(
        _Worker,
        fn_constructor_args=([job], tally),
        compute=ray.data.ActorPoolStrategy(min_size=workers.least, max_size=workers.most),
        batch_format=str(form),
        batch_size=batch_size,
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        **workers.remote_args,
    )
    return _in_order(answers), tally


def errored_batches(tally: Any) -> tuple[BatchFailedError, ...]:
    """What the actor has put down so far."""
    ray = require("ray", "ray", "a prediction on a Ray dataset")
    return tuple(ray.get(tally.found.remote()))


def _preprocessed(data: Any, preprocessor: Any, form: BatchFormat, batch_size: int) -> Any:
    """The stage before the actors; one of Ray's own preprocessors says for itself how it wants its batches."""
    preprocessors = require("ray.data.preprocessor", "ray", "a prediction on a Ray dataset")
    if isinstance(preprocessor, preprocessors.Preprocessor):
        return preprocessor.transform(data)
    return data.map_batches(
        _Preprocessing(preprocessor), batch_format=str(form), batch_size=batch_size, zero_copy_batch=False
    )


class _Preprocessing:
    """A preprocessor as the function that Ray Data maps."""

    def __init__(self, preprocessor: Any) -> None:
        self._preprocessor = preprocessor

    @property
    def __name__(self) -> str:
        """What Ray calls the stage."""
        return type(self._preprocessor).__name__

    def __call__(self, batch: Batch) -> Batch:
        return preprocess(self._preprocessor, batch)


class _Worker:
    """An actor: makes the model once, then answers batches."""

    def __init__(self, job: list[Any], tally: Any | None) -> None:
        ray = require("ray", "ray", "a prediction on a Ray dataset")
        self._job: _Job = ray.get(job[0])
        self._tally = tally
        self._form = self._job.model.predictor_class.batch_format()
        self._predictor = self._job.model.load()

    def __call__(self, batch: Batch) -> Batch:
        job = self._job
        try:
            answer = answer_batch(self._predictor, job.preprocessor, batch, job.question)
        except Exception as error:  # the preprocessor's and the model's own code run, and may raise anything
            failed = BatchFailedError(_rows(batch), f"{type(error).__name__}: {error}")
            if self._tally is None or not self._may_skip(failed):
                raise failed from error
            return slice_rows(batch, 0, 0)
        return to_pandas(answer) if self._form is BatchFormat.PANDAS else to_numpy(answer)

    def _may_skip(self, failed: BatchFailedError) -> bool:
        ray = require("ray", "ray", "a prediction on a Ray dataset")
        return bool(self._tally is not None and ray.get(self._tally.add.remote(failed)))


class _Tally:
    """The failed batches of all workers; an actor of its own."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: list[BatchFailedError] = []

    def add(self, failed: BatchFailedError) -> bool:
        """Put one down. False if there are too many."""
        if len(self._found) >= self._limit:
            return False
        self._found.append(failed)
        return True

    def found(self) -> list[BatchFailedError]:
        """All so far."""
        return self._found


def _rows(batch: Batch) -> str:
    """Which rows a batch has, for people: a worker sees blocks in any order and so no row numbers."""
    count = count_rows(batch)
    first, last = (_row(batch, place) for place in (0, count - 1))
    return f"{count} rows from {first} to {last}"


def _row(batch: Batch, place: int) -> str:
    columns = to_numpy(batch)
    row = {name: array[place] for name, array in columns.items()} if isinstance(columns, dict) else columns[place]
    text = str({name: getattr(value, "tolist", lambda value=value: value)() for name, value in row.items()}
               if isinstance(row, dict) else row)  # fmt: skip
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _in_order(answers: Any) -> Any:
    """The same dataset, whose blocks keep their order whichever actor is done first: as in one process."""
    answers.context.execution_options = copy.copy(answers.context.execution_options)
    answers.context.execution_options.preserve_order = True
    return answers
