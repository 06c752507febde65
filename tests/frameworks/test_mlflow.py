"""MLflowCheckpoint: MLflow's models move through cas and back, and none of their code runs unasked."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.mlflow import MLflowCheckpoint
from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError

mlflow = pytest.importorskip("mlflow")
ensemble = pytest.importorskip("sklearn.ensemble")
linear_model = pytest.importorskip("sklearn.linear_model")
pytest.importorskip("skops")

pytestmark = [
    pytest.mark.slow,
    # MLflow's store and its type hints, on this Python and this pydantic.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

INPUTS = np.random.default_rng(0).normal(size=(40, 3))
TARGETS = (INPUTS[:, 0] > 0).astype(np.int64)


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="module")
def estimator():
    return linear_model.LogisticRegression().fit(INPUTS, TARGETS)


@pytest.fixture(scope="module")
def saved(estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "skops"
    mlflow.sklearn.save_model(estimator, path, pip_requirements=[])
    return path


@pytest.fixture(scope="module")
def pickled(estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "pickled"
    mlflow.sklearn.save_model(estimator, path, pip_requirements=[], serialization_format="cloudpickle")
    return path


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """A tracking server's database and folder of our own."""
    folder = tmp_path_factory.mktemp("tracking")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("cas", artifact_location=(folder / "a").as_uri()))
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def files(folder):
    """What a directory holds, but for the note that MLflow leaves when it downloads."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    found.pop("registered_model_meta", None)
    return found


def hops(checkpoint, folder):
    """The same checkpoint after each kind of trip, read as whatever it was made as."""
    yield "as it is", checkpoint
    yield "dict", Checkpoint.from_dict(checkpoint.to_dict())
    yield "bytes", Checkpoint.from_bytes(checkpoint.to_bytes())
    yield "directory", Checkpoint.from_directory(checkpoint.to_directory(folder / "hop"))
    yield "hash", Checkpoint.from_hash(checkpoint.hash).typed()


def test_a_model_moves_and_is_loaded_by_mlflow(estimator, saved, tmp_path):
    """Saved by MLflow, over every hop, given back: MLflow finds the very files that it wrote."""
    for number, (hop, checkpoint) in enumerate(hops(MLflowCheckpoint.from_model(saved), tmp_path)):
        assert type(checkpoint) is MLflowCheckpoint, hop
        moved = checkpoint.to_mlflow(tmp_path / f"moved-{number}")
        assert files(moved) == files(saved), hop
    loaded = mlflow.sklearn.load_model(moved)
    np.testing.assert_array_equal(loaded.predict(INPUTS), estimator.predict(INPUTS))
    with pytest.raises(ConflictError):
        MLflowCheckpoint.from_directory(saved).to_mlflow(_changed(moved))


def test_flavors_are_read_without_loading_anything(saved):
    """Name by name with their settings, as MLmodel has them."""
    flavors = MLflowCheckpoint.from_model(saved.as_uri()).flavors

    assert set(flavors) == {"python_function", "sklearn"}
    assert flavors["sklearn"]["serialization_format"] == "skops"


def test_a_model_that_skops_stored_loads_without_permission(estimator, saved):
    """The default flavor is the model's own, not the general one, and that one needs a word."""
    checkpoint = MLflowCheckpoint.from_model(saved)

    np.testing.assert_array_equal(checkpoint.get_model().predict(INPUTS), estimator.predict(INPUTS))
    with pytest.raises(RefusedError, match=r"'python_function'.*\n.*allow_pickle=True"):
        checkpoint.get_model("python_function")
    general = checkpoint.get_model("python_function", allow_pickle=True)
    np.testing.assert_array_equal(general.predict(INPUTS), estimator.predict(INPUTS))


def test_a_pickled_model_needs_permission(estimator, pickled):
    """The refusal names the file and the flavor."""
    checkpoint = MLflowCheckpoint.from_model(pickled)

    with pytest.raises(RefusedError, match=r"model\.pkl of .*'sklearn', which may unpickle"):
        checkpoint.get_model()
    loaded = checkpoint.get_model(allow_pickle=True)
    np.testing.assert_array_equal(loaded.predict(INPUTS), estimator.predict(INPUTS))


def test_a_hostile_pickle_is_not_run(pickled, tmp_path):
    """Nothing of it happens before somebody allows it."""
    canary = tmp_path / "canary"
    folder = Path(MLflowCheckpoint.from_model(pickled).to_mlflow(tmp_path / "hostile"))
    (folder / "model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    checkpoint = MLflowCheckpoint.from_model(folder)

    with pytest.raises(RefusedError):
        checkpoint.get_model()
    assert not canary.exists()
    checkpoint.get_model(allow_pickle=True)
    assert canary.exists()


def test_what_a_directory_trusts_itself_with_is_not_believed(tmp_path):
    """MLmodel lists types for skops to trust; only the caller's list counts."""
    trees = ["sklearn.tree._tree.Tree"]
    forest = ensemble.RandomForestClassifier(2, random_state=0).fit(INPUTS, TARGETS)
    mlflow.sklearn.save_model(forest, tmp_path / "forest", pip_requirements=[], skops_trusted_types=trees)
    checkpoint = MLflowCheckpoint.from_model(tmp_path / "forest")

    with pytest.raises(RefusedError, match=r"trusted=\['sklearn\.tree\._tree\.Tree'\]"):
        checkpoint.get_model()
    loaded = checkpoint.get_model(trusted=trees)
    np.testing.assert_array_equal(loaded.predict(INPUTS), forest.predict(INPUTS))


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "lightgbm estimator"])
def test_boosters_load_without_permission(kind, tmp_path):
    """Their formats hold no code; a LightGBM estimator's is skops with types that are known."""
    name = kind.split()[0]
    framework = pytest.importorskip(name)
    if kind == "xgboost":
        model = framework.XGBClassifier(n_estimators=2, n_jobs=1).fit(INPUTS, TARGETS)
        mlflow.xgboost.save_model(model, tmp_path / "made", pip_requirements=[])
    else:
        model = framework.LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1).fit(INPUTS, TARGETS)
        model = model if kind.endswith("estimator") else model.booster_
        mlflow.lightgbm.save_model(model, tmp_path / "made", pip_requirements=[])
    loaded = MLflowCheckpoint.from_model(tmp_path / "made").get_model()

    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(INPUTS), model.predict(INPUTS))


@pytest.mark.parametrize(
    "flavor",
    [
        "{xgboost: {data: model.ubj, model_class: os.system, code: null}}",
        "{xgboost: {data: model.ubj, model_class: xgboost.core.Booster, code: code}}",
        "{lightgbm: {data: model.ubj, model_class: lightgbm.sklearn.LGBMClassifier, code: null}}",
        "{sklearn: {pickled_model: model.ubj, serialization_format: skops, code: code}}",
        "{pytorch: {model_data: data}}",
    ],
)
def test_a_description_that_asks_for_code_is_refused(flavor, tmp_path):
    """A class that is not the framework's own, Python files to import, pickles, and flavors that are not known."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.ubj").write_bytes(b"{}")
    (tmp_path / "made" / "MLmodel").write_text(f"flavors: {flavor}")

    with pytest.raises(RefusedError, match="allow_pickle=True"):
        MLflowCheckpoint.from_model(tmp_path / "made").get_model()


def test_a_file_elsewhere_is_not_read(tmp_path):
    """A description that points out of the directory finds nothing, with or without permission."""
    (tmp_path / "made").mkdir()
    (tmp_path / "secret").write_bytes(b"{}")
    (tmp_path / "made" / "MLmodel").write_text("flavors: {xgboost: {data: ../secret}}")
    checkpoint = MLflowCheckpoint.from_model(tmp_path / "made")

    for allowed in (False, True):
        with pytest.raises(NotFoundError, match=r"\.\./secret"):
            checkpoint.get_model(allow_pickle=allowed)


def test_runs_and_registered_models_are_downloaded(estimator, tracking):
    """By runs:/ and by models:/ it is one content, and the hash does not tell how it came."""
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(estimator, name="model", pip_requirements=[], registered_model_name="ours")
    found = [MLflowCheckpoint.from_model(uri) for uri in (f"runs:/{run.info.run_id}/model", "models:/ours/1")]

    assert found[0].hash == found[1].hash
    np.testing.assert_array_equal(found[1].get_model().predict(INPUTS), estimator.predict(INPUTS))
    with pytest.raises(NotFoundError, match="models:/nobodys/1"):
        MLflowCheckpoint.from_model("models:/nobodys/1")


def test_a_checkpoint_goes_into_a_run_and_into_the_registry(estimator, saved, tracking):
    """What MLflow then loads by its own names is the model, and it comes back with the same files."""
    checkpoint = MLflowCheckpoint.from_hash(MLflowCheckpoint.from_model(saved).hash)
    with mlflow.start_run() as run:
        logged = checkpoint.to_mlflow(f"runs:/{run.info.run_id}/kept")
        first = checkpoint.to_mlflow("models:/given")
    second = checkpoint.to_mlflow("models:/given")

    assert (first, second) == ("models:/given/1", "models:/given/2")
    for uri in (logged, first, second):
        np.testing.assert_array_equal(mlflow.sklearn.load_model(uri).predict(INPUTS), estimator.predict(INPUTS))
        assert MLflowCheckpoint.from_model(uri).hash == checkpoint.hash
    assert mlflow.active_run() is None


def test_what_is_no_model_is_refused(tmp_path):
    """No directory, one without MLmodel, a malformed MLmodel and an unknown flavor each say what is wrong."""
    (tmp_path / "made").mkdir()
    with pytest.raises(NotFoundError, match="no directory"):
        MLflowCheckpoint.from_model(tmp_path / "missing")
    with pytest.raises(FormatError, match="has no MLmodel"):
        MLflowCheckpoint.from_model(tmp_path / "made")
    with pytest.raises(NotFoundError, match="has no MLmodel; make one by MLflowCheckpoint"):
        MLflowCheckpoint.from_dict({"a": 1}).get_model()
    for text in ("{", "[]", "flavors: {}", "flavors: {sklearn: 3}"):
        (tmp_path / "made" / "MLmodel").write_text(text)
        with pytest.raises(FormatError, match="MLmodel"):
            MLflowCheckpoint.from_model(tmp_path / "made").get_model()
    (tmp_path / "made" / "MLmodel").write_text("flavors: {sklearn: {}}")
    with pytest.raises(NotFoundError, match="no flavor 'spark'; it has sklearn"):
        MLflowCheckpoint.from_model(tmp_path / "made").get_model("spark")


def _changed(folder):
    (Path(folder) / "MLmodel").write_text("changed")
    return folder
