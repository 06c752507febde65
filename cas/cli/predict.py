"""The command that uses a checkpoint's model: predict."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cas.cli.context import Context, shared_options

if TYPE_CHECKING:
    from cas.predictors import Predictor

__all__ = ["COMMANDS"]


@click.command()
@click.argument("rev")
@click.argument("source", metavar="INPUT.parquet")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.parquet",
    help="The Parquet file to write.",
)
@click.option(
    "--predictor",
    "name",
    metavar="NAME",
    help="xgboost, sklearn, torch, …, or package.module:Class; else by the checkpoint's own class.",
)
@click.option("--feature-columns", metavar="A,B", help="The columns that the model is given, in order; else all.")
@click.option("--keep-columns", metavar="A,B", help="Columns to write beside the predictions.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4096, show_default=True, help="Rows at a time.")
@click.option(
    "--max-errored-batches",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Leave out so many batches that fail, rather than stop.",
)
@click.option("--dtype", metavar="TYPE", help="What tensors are made of, such as float32; torch and TensorFlow only.")
@shared_options
def predict(context: Context, rev: str, source: str, output: Path, name: str | None, feature_columns: str | None,
            keep_columns: str | None, batch_size: int, max_errored_batches: int,
            dtype: str | None) -> None:  # fmt: skip
    """Predict the rows of INPUT.parquet, a file or a directory of them, with the model of REV.

    Memory stays bounded by a batch and a row group. OUT.parquet is there only when it is whole.
    """
    from cas.predictors import BatchPredictor, find_predictor, predictor_of

    with context.open() as store:
        checkpoint = store.get(rev)
    kind: type[Predictor] = predictor_of(checkpoint) if name is None else find_predictor(name)
    predictor = BatchPredictor(checkpoint, kind)
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    answers = predictor.predict(
        source,
        feature_columns=_names(feature_columns),
        keep_columns=_names(keep_columns),
        batch_size=batch_size,
        max_errored_batches=max_errored_batches,
        progress=context.progress(),
        **options,
    )
    rows = _write(answers, output)
    for failed in predictor.errored_batches:
        context.note(f"left out: {failed}")
    left_out = [{"first_row": one.first_row, "last_row": one.last_row, "reason": one.reason}
                for one in predictor.errored_batches]  # fmt: skip
    context.emit({"output": str(output), "rows": rows, "errored_batches": left_out}, f"{rows} rows")


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise click.UsageError(f"columns are given as a,b, not {text!r}")
    return names


def _write(answers: Iterator[Any], output: Path) -> int:
    """Write tables as one Parquet file, at once when all is there. How many rows."""
    from cas.checkpoint.extras import require

    pyarrow = require("pyarrow", "predict", "writing Parquet files")
    parquet = require("pyarrow.parquet", "predict", "writing Parquet files")
    temporary = output.with_name(f".{output.name}-{secrets.token_hex(8)}")
    writer, rows = None, 0
    try:
        for table in answers:
            if writer is None:
                writer = parquet.ParquetWriter(temporary, table.schema)
            writer.write_table(table.cast(writer.schema))
            rows += table.num_rows
        if writer is None:  # no rows at all
            writer = parquet.ParquetWriter(temporary, pyarrow.schema([]))
        writer.close()
        os.replace(temporary, output)
    except BaseException:
        if writer is not None:
            writer.close()
        with suppress(OSError):
            temporary.unlink()
        raise
    return rows


COMMANDS = (predict,)
