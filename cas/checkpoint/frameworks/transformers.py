"""TransformersCheckpoint: a Hugging Face model, its tokenizer and training arguments, as ``save_pretrained`` writes.

Weights are safetensors, everything else is text, so that `transformers` and every tool of its hub read the
directory. Code that comes with a model is never run, and nothing is fetched from a network.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.stored_weights import read_state
from cas.checkpoint.frameworks.torch_file import import_torch, load_file
from cas.checkpoint.frameworks.torch_module import fill_module, unwrapped
from cas.checkpoint.frameworks.training_arguments import ARGUMENTS_PATH, decode_arguments, encode_arguments
from cas.errors import FormatError, NotFoundError, RefusedError

__all__ = ["TransformersCheckpoint"]

_TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "spiece", "sentencepiece", "preprocessor", "processor")
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError)  # transformers' own, for what is missing or misfits
_PICKLED_ARGUMENTS_PATH = "training_args.bin"  # the Trainer's own


class TransformersCheckpoint(Checkpoint):
    """A directory that ``from_pretrained`` reads, made by cas, by ``save_pretrained`` or by a ``Trainer``."""

    @classmethod
    def from_model(
        cls,
        model: Any,
        tokenizer: Any = None,
        *,
        training_arguments: Any = None,
        path: str | os.PathLike[str] | None = None,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A model, and what belongs to it, as they are now.

        Args:
            model: a ``PreTrainedModel``, also inside DistributedDataParallel.
            tokenizer: or a processor: anything with ``save_pretrained``.
            training_arguments: ``TrainingArguments``, stored as JSON and without the tokens in it.
            path: a directory to write the files into; the checkpoint then is that directory, read when it is
                needed. By default the files are in memory.
            preprocessor: what the model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: transformers is not installed.
            FormatError: an argument cannot be stored as JSON; the message names it.
        """
        require("transformers", "transformers", f"a {cls.__name__}")
        arguments = None if training_arguments is None else encode_arguments(training_arguments)
        with tempfile.TemporaryDirectory(prefix="cas-transformers-") as temporary:
            folder = Path(temporary if path is None else path)
            with _without_progress_bars():
                unwrapped(model).save_pretrained(folder)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
            if arguments is not None:
                (folder / ARGUMENTS_PATH).write_bytes(arguments)
            if path is None:
                files = {
                    str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()
                }
                return cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)
        made = cls.from_directory(folder, store=store)
        if preprocessor is not None:
            made.set_preprocessor(preprocessor, allow_pickle=allow_pickle)
        return made

    def get_model(self, model: Any, **load_kwargs: Any) -> Any:
        """The model, on the CPU.

        Args:
            model: a class with ``from_pretrained`` (``AutoModelForSequenceClassification``, ``BertModel``), or a
                module to load the weights into.
            load_kwargs: for ``from_pretrained``.

        Raises:
            RefusedError: code that came with the model would have to run.
            FormatError: there is no such model in it, or the weights do not fit.
        """
        torch = import_torch("a TransformersCheckpoint")
        if isinstance(model, torch.nn.Module):
            fill_module(model, read_state(self, self._files(), None))
            return model
        return self._from_pretrained(model, load_kwargs)

    def get_tokenizer(self, tokenizer: Any = None, **load_kwargs: Any) -> Any:
        """The tokenizer.

        Args:
            tokenizer: its class; ``AutoTokenizer`` by default.
            load_kwargs: for ``from_pretrained``.

        Raises:
            NotFoundError: there is none.
            RefusedError: code that came with it would have to run.
            FormatError: it is of another class.
        """
        if not any(path.rpartition("/")[2].startswith(_TOKENIZER_FILES) for path in self._files()):
            raise NotFoundError(f"{self!r} has no tokenizer: give one to from_model")  # from_pretrained makes one up
        if tokenizer is None:
            tokenizer = require("transformers", "transformers", "a tokenizer").AutoTokenizer
        return self._from_pretrained(tokenizer, load_kwargs)

    def get_training_arguments(self, *, allow_pickle: bool | None = None) -> Any | None:
        """The ``TrainingArguments`` it was trained with, or None.

        Args:
            allow_pickle: whether the file of a ``Trainer``, which is a pickle, may be loaded, which runs code; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: they are in such a file and nobody allowed it.
            FormatError: they are of a class that nobody imported, or are not valid here.
        """
        transformers = require("transformers", "transformers", "training arguments")
        if (data := self._find_file(ARGUMENTS_PATH)) is not None:
            return decode_arguments(bytes(data), transformers)
        if _PICKLED_ARGUMENTS_PATH not in self._files():
            return None
        with self.open(_PICKLED_ARGUMENTS_PATH) as file:
            return load_file(file, _PICKLED_ARGUMENTS_PATH, allow_pickle)

    def _from_pretrained(self, kind: Any, load_kwargs: dict[str, Any]) -> Any:
        if not hasattr(kind, "from_pretrained"):
            raise FormatError(f"{kind!r:.80} has no from_pretrained: give one of transformers' classes")
        if load_kwargs.get("trust_remote_code"):
            raise RefusedError(
                "cas runs no code that comes with a model: import its class and give that in place of an Auto class"
            )
        safe = {**load_kwargs, "trust_remote_code": False, "local_files_only": True}
        with self.as_directory() as path, _without_progress_bars():
            try:
                return kind.from_pretrained(path, **safe)
            except pickle.UnpicklingError as error:
                raise RefusedError(
                    f"{self!r} has objects among its weights, and loading a pickle runs code;\n"
                    "where you trust them, load them by transformers and save them again"
                ) from error
            except _LOADING_ERRORS as error:
                raise FormatError(f"{self!r} gives no {kind.__name__}: {error}") from error


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """What is saved and loaded here is on this machine: no bar on the caller's terminal."""
    logging = require("transformers", "transformers", "a TransformersCheckpoint").utils.logging
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
