"""TransformersCheckpoint: what `from_pretrained` reads, and no code of the model's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.checkpoint.frameworks.transformers import TransformersCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.slow  # importing transformers takes several seconds

TEXTS = ["a good day", "a bad day", "good", "bad bad"]


@pytest.fixture(scope="module")
def tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture(scope="module")
def config(tokenizer):
    return transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(config, tokenizer):
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for _ in range(5):
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor([1, 0, 1, 0])).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def made(model, tokenizer):
    return TransformersCheckpoint.from_model(model, tokenizer)


def predicted(model, tokenizer):
    with torch.no_grad():
        return model.eval()(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits


def test_a_trained_model_and_its_tokenizer_come_back(made, model, tokenizer):
    """By Auto classes and by their own, as a TransformersCheckpoint, whoever reads it."""
    found = Checkpoint.from_hash(made.hash).typed()
    assert type(found) is TransformersCheckpoint
    expected = predicted(model, tokenizer)
    for kind in (transformers.AutoModelForSequenceClassification, transformers.BertForSequenceClassification):
        assert torch.equal(predicted(found.get_model(kind), found.get_tokenizer()), expected)
    own = found.get_tokenizer(transformers.PreTrainedTokenizerFast)
    assert own(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_weights_can_be_loaded_into_a_module(made, model, tokenizer, config):
    """Given as an instance."""
    given = transformers.BertForSequenceClassification(config)
    assert made.get_model(given) is given
    assert torch.equal(predicted(given, tokenizer), predicted(model, tokenizer))


def test_the_files_are_those_of_save_pretrained(made, model, tokenizer, tmp_path):
    """No more and no less; so the checkpoint of what somebody saved has the same weights' file."""
    model.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    ours = made.to_dict()["cas.files"]
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    assert {path: data for path, data in ours.items() if not path.startswith("cas-")} == theirs
    assert not any(path.endswith((".bin", ".pt", ".pkl")) for path in ours)
    read = TransformersCheckpoint.from_directory(tmp_path / "theirs")
    assert torch.equal(
        predicted(read.get_model(transformers.AutoModelForSequenceClassification), tokenizer),
        predicted(model, tokenizer),
    )


def test_nothing_is_printed(model, tokenizer, capfd):
    """transformers shows progress bars, and shows them again afterwards."""
    TransformersCheckpoint.from_model(model, tokenizer).get_model(transformers.AutoModel)
    assert "it/s" not in "".join(capfd.readouterr())
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_equal_models_have_equal_hashes(made, model, tokenizer):
    """Nothing of it depends on when or where it was made."""
    assert TransformersCheckpoint.from_model(model, tokenizer).hash == made.hash


def test_a_path_is_where_the_files_are(model, tokenizer, tmp_path):
    """As in Ray AIR: the checkpoint is that directory."""
    made = TransformersCheckpoint.from_model(model, tokenizer, path=tmp_path / "here")
    assert made.path == str(tmp_path / "here")
    assert (tmp_path / "here" / "model.safetensors").is_file()
    assert made.get_tokenizer()(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_tied_weights_stay_tied(tokenizer, config):
    """transformers stores them once and ties them again; a module that is given is complete too."""
    model = transformers.BertForMaskedLM(config)
    made = TransformersCheckpoint.from_model(model)
    found = made.get_model(transformers.AutoModelForMaskedLM)
    assert found.cls.predictions.decoder.weight is found.bert.embeddings.word_embeddings.weight
    given = transformers.BertForMaskedLM(config)
    made.get_model(given)
    assert torch.equal(predicted(given, tokenizer), predicted(model, tokenizer))


def test_a_torch_checkpoint_reads_it(made, model):
    """As weights."""
    state = TorchCheckpoint.from_checkpoint(made).get_state_dict()
    assert state.keys() == model.state_dict().keys()


# -- training arguments


def test_training_arguments_come_back_without_a_pickle(model, tmp_path):
    """As JSON; but for the tokens, which are secret."""
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), learning_rate=3e-4, num_train_epochs=2, report_to=[], use_cpu=True,
        hub_token="secret", lr_scheduler_type="cosine",
    )  # fmt: skip
    made = TransformersCheckpoint.from_model(model, training_arguments=arguments)
    assert b"secret" not in made.to_bytes()
    found = made.get_training_arguments()
    assert type(found) is transformers.TrainingArguments
    expected = {name: value for name, value in arguments.to_dict().items() if not name.endswith("_token")}
    assert {name: value for name, value in found.to_dict().items() if not name.endswith("_token")} == expected
    assert found.lr_scheduler_type == "cosine"


def test_training_arguments_of_other_classes_are_looked_up_and_never_imported(model, tmp_path):
    """Among the subclasses that somebody imported."""
    arguments = transformers.Seq2SeqTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    made = TransformersCheckpoint.from_model(model, training_arguments=arguments)
    assert type(made.get_training_arguments()) is transformers.Seq2SeqTrainingArguments
    path = Path(made.to_directory(tmp_path / "out"), "cas-training-arguments.json")
    path.write_text(path.read_text().replace("Seq2SeqTrainingArguments", "Unknown"))
    with pytest.raises(FormatError, match=r"Unknown.*import its module first"):
        TransformersCheckpoint.from_directory(tmp_path / "out").get_training_arguments()


def test_damaged_training_arguments_are_refused(model, tmp_path):
    """In words; one that this version of transformers no longer has is named in a warning."""
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    made = TransformersCheckpoint.from_model(model, training_arguments=arguments)
    path = Path(made.to_directory(tmp_path / "out"), "cas-training-arguments.json")
    text = path.read_text()
    for broken in ("{", "[]", text.replace('"linear"', '"unheard of"'), text.replace('"linear"', "[]")):
        path.write_text(broken)
        with pytest.raises(FormatError, match=r"cas-training-arguments\.json"):
            TransformersCheckpoint.from_directory(tmp_path / "out").get_training_arguments()
    path.write_text(text.replace('"use_cpu"', '"gone"'))
    with pytest.warns(UserWarning, match="has no gone"):
        TransformersCheckpoint.from_directory(tmp_path / "out").get_training_arguments()


def test_training_arguments_that_are_no_json_are_refused_by_name(model, tmp_path):
    """Nothing is dropped in silence."""
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    arguments.run_name = object()
    with pytest.raises(FormatError, match="'run_name' is a object"):
        TransformersCheckpoint.from_model(model, training_arguments=arguments)
    with pytest.raises(FormatError, match="not a dict"):
        TransformersCheckpoint.from_model(model, training_arguments={})


def test_a_trainers_pickled_arguments_need_permission(model, tmp_path):
    """``training_args.bin`` is a pickle."""
    folder = tmp_path / "trained"
    trainer = transformers.Trainer(
        model=model, args=transformers.TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[])
    )
    trainer.save_model()
    made = TransformersCheckpoint.from_directory(folder)
    with pytest.raises(RefusedError, match=r"training_args\.bin holds pickled objects.*(?s:.*)allow_pickle=True"):
        made.get_training_arguments()
    assert made.get_training_arguments(allow_pickle=True).output_dir == str(folder)
    assert made.get_model(transformers.AutoModelForSequenceClassification).config.hidden_size == 16


def test_without_training_arguments_there_are_none(made):
    """None, not an error."""
    assert made.get_training_arguments() is None


# -- what is refused


def test_code_that_comes_with_a_model_is_never_run(made, tmp_path):
    """Whether the caller asks for it or not."""
    folder = Path(made.to_directory(tmp_path / "out"))
    (folder / "cas-checkpoint.msgpack").unlink()
    (folder / "own.py").write_text("import os; os.mkdir('sprung')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config))
    hostile = TransformersCheckpoint.from_directory(folder)
    with pytest.raises(FormatError, match="trust_remote_code"):
        hostile.get_model(transformers.AutoModel)
    with pytest.raises(RefusedError, match="no code"):
        hostile.get_model(transformers.AutoModel, trust_remote_code=True)
    with pytest.raises(RefusedError, match="no code"):
        hostile.get_tokenizer(trust_remote_code=True)
    assert not Path("sprung").exists()


def test_pickled_weights_run_nothing(made, tmp_path):
    """What older versions of transformers wrote."""

    class Trap:
        def __reduce__(self):
            return os.mkdir, ("sprung",)

    folder = Path(made.to_directory(tmp_path / "out"))
    (folder / "model.safetensors").unlink()
    torch.save({"w": Trap()}, folder / "pytorch_model.bin")
    broken = TransformersCheckpoint.from_directory(folder)
    with pytest.raises((FormatError, RefusedError)):
        broken.get_model(transformers.AutoModelForSequenceClassification)
    assert not Path("sprung").exists()


def test_what_is_missing_is_said(made, tmp_path):
    """A tokenizer, a model, a class."""
    model_only = Path(made.to_directory(tmp_path / "out"))
    for path in model_only.glob("token*"):
        path.unlink()
    with pytest.raises(NotFoundError, match="has no tokenizer"):
        TransformersCheckpoint.from_directory(model_only).get_tokenizer()
    (model_only / "model.safetensors").unlink()
    with pytest.raises(FormatError, match="gives no AutoModel"):
        TransformersCheckpoint.from_directory(model_only).get_model(transformers.AutoModel)
    with pytest.raises(NotFoundError, match="looks like weights"):
        TransformersCheckpoint.from_directory(model_only).get_model(torch.nn.Linear(1, 1))
    with pytest.raises(FormatError, match="has no from_pretrained"):
        made.get_model("bert")


def test_a_preprocessor_travels_along(model, tmp_path):
    """In its slot, in memory and beside a directory."""
    for path in (None, tmp_path / "here"):
        made = TransformersCheckpoint.from_model(model, path=path, preprocessor={"mean": 2.0}, allow_pickle=True)
        assert made.get_preprocessor(allow_pickle=True) == {"mean": 2.0}
