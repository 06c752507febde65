"""TransformersPredictor: a pipeline out of a hash."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tokenizers
import torch
import transformers

from cas import Checkpoint
from cas.checkpoint.frameworks.transformers import TransformersCheckpoint
from cas.errors import FormatError
from cas.predictors import BatchPredictor, TransformersPredictor, predictor_of

pytestmark = pytest.mark.slow  # importing transformers takes several seconds

TEXTS = ["a good day", "a bad day", "good", "bad bad"]
LABELS = [1, 0, 1, 0]


@pytest.fixture(scope="module")
def tokenizer():
    words = ["[PAD]", "[UNK]", *sorted({word for text in TEXTS for word in text.split()})]
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for _ in range(30):
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor(LABELS)).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def checkpoint(model, tokenizer):
    return Checkpoint.from_hash(TransformersCheckpoint.from_model(model, tokenizer).hash)


def test_predict(checkpoint, model, tokenizer):
    """A trained classifier and its tokenizer, by hash: labels and scores as columns, in the form of the question."""
    assert predictor_of(checkpoint) is TransformersPredictor
    predictor = TransformersPredictor.from_checkpoint(checkpoint, task="text-classification")
    answer = predictor.predict(pd.DataFrame({"text": TEXTS}))
    assert answer["label"].tolist() == [f"LABEL_{label}" for label in LABELS]
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(answer["score"], logits.softmax(-1).max(-1).values.numpy(), rtol=1e-5)
    by_array = predictor.predict(np.array(TEXTS))
    assert by_array["label"].tolist() == answer["label"].tolist()
    assert len(repr(predictor)) < 120


def test_columns_options_and_batches(checkpoint):
    """Feature columns are chosen, options reach the pipeline, and a data set is answered in batches."""
    data = pd.DataFrame({"id": range(4), "text": TEXTS})
    predictor = BatchPredictor(checkpoint, TransformersPredictor, task="text-classification")
    answer = predictor.predict(data, feature_columns=["text"], keep_columns=["id"], batch_size=3)
    assert answer["id"].tolist() == [0, 1, 2, 3]
    assert answer["label"].tolist() == [f"LABEL_{label}" for label in LABELS]
    made = TransformersPredictor.from_checkpoint(checkpoint, task="text-classification")
    both = made.predict(data, feature_columns=["text"], top_k=2)
    assert [len(row) for row in both["predictions"]] == [2] * 4
    wide = np.array([["x", text] for text in TEXTS], object)
    assert made.predict(wide, feature_columns=[1])["label"].tolist() == answer["label"].tolist()


def test_a_pipeline_of_ones_own(checkpoint):
    """`pipeline_cls` says what a task else does, with a model of the class that it was saved as, or that is given."""

    class Loud(transformers.TextClassificationPipeline):
        def postprocess(self, *args, **kwargs):
            return {"loud": super().postprocess(*args, **kwargs)["label"].upper()}

    for options in ({}, {"model_cls": transformers.BertForSequenceClassification}):
        predictor = TransformersPredictor.from_checkpoint(checkpoint, pipeline_cls=Loud, **options)
        assert set(predictor.predict(pd.DataFrame({"text": TEXTS}))["loud"]) == {"LABEL_0", "LABEL_1"}


def test_which_pipeline_must_be_said(checkpoint):
    """Neither a task nor a class, or a task that nobody knows, is explained."""
    with pytest.raises(FormatError, match="which pipeline"):
        TransformersPredictor.from_checkpoint(checkpoint)
    with pytest.raises(FormatError, match="no-such-task"):
        TransformersPredictor.from_checkpoint(checkpoint, task="no-such-task")
