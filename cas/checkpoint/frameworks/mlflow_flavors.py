"""What an MLflow model directory says about itself, and which of its flavors load without running code from it.

MLflow's loaders believe the directory: which class to import, which Python files to put on the path, even (for skops)
which types to trust. So a flavor is loaded without a permission only if what it says is one of a few known things.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cas.checkpoint.extras import require
from cas.errors import FormatError, NotFoundError
from cas.format import Buffer

__all__ = ["DESCRIPTION_PATH", "PYFUNC", "Flavor", "read_flavors"]

DESCRIPTION_PATH = "MLmodel"
PYFUNC = "python_function"
"""The flavor that nearly every model has besides its own: it names a module to import."""

_FILE_KEYS = ("pickled_model", "data", "model_path", "artifact_path")
_XGBOOST_CLASSES = frozenset(
    ["xgboost.core.Booster"]
    + [f"xgboost.sklearn.XGB{kind}" for kind in ("Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")]
)
_LIGHTGBM_BOOSTER = "lightgbm.basic.Booster"
_LIGHTGBM_TYPES = frozenset(
    ["collections.OrderedDict", _LIGHTGBM_BOOSTER]
    + [f"lightgbm.sklearn.LGBM{kind}" for kind in ("Classifier", "Regressor", "Ranker")]
)


@dataclass(frozen=True, slots=True)
class Flavor:
    """One way to load an MLflow model.

    Attributes:
        name: what MLflow calls it, such as "sklearn".
        settings: what the directory says about it.
        path: the file that it loads; `DESCRIPTION_PATH` if it does not say.
    """

    name: str
    settings: Mapping[str, Any]
    path: str

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any], files: Collection[str]) -> Flavor:
        """A flavor of a checkpoint with these files.

        Raises:
            NotFoundError: it loads a file that is not one of the checkpoint's.
        """
        path = next((settings[key] for key in _FILE_KEYS if isinstance(settings.get(key), str)), DESCRIPTION_PATH)
        if path not in files and not any(file.startswith(f"{path}/") for file in files):
            raise NotFoundError(
                f"flavor {name!r} of {DESCRIPTION_PATH} loads {path!r}, which the checkpoint does not have"
            )
        return cls(name, settings, path)

    @property
    def is_skops(self) -> bool:
        """Whether its file is an estimator by skops."""
        return (
            self.name in ("sklearn", "lightgbm")
            and not self._has_code
            and self.settings.get("serialization_format") == "skops"
            and self.settings.get("model_class") != _LIGHTGBM_BOOSTER
        )

    @property
    def trusted(self) -> frozenset[str]:
        """Types that may be made of such a file besides those that skops trusts; never what the directory says."""
        return _LIGHTGBM_TYPES if self.name == "lightgbm" else frozenset()

    @property
    def runs_code(self) -> bool:
        """Whether loading it by MLflow may run code from the directory."""
        if self._has_code:
            return True
        if self.name == "xgboost":
            return self.settings.get("model_class", "xgboost.core.Booster") not in _XGBOOST_CLASSES
        return self.name != "lightgbm" or self.settings.get("model_class", _LIGHTGBM_BOOSTER) != _LIGHTGBM_BOOSTER

    @property
    def _has_code(self) -> bool:
        return bool(self.settings.get("code"))


def read_flavors(description: Buffer) -> dict[str, dict[str, Any]]:
    """Every flavor's settings by its name, out of the file ``MLmodel``.

    Raises:
        FormatError: it is no such file.
        RefusedError: PyYAML is not installed.
    """
    yaml = require("yaml", "mlflow", "an MLflow model")
    try:
        found = yaml.safe_load(bytes(description))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"{DESCRIPTION_PATH} is no YAML: {error}") from error
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise FormatError(f"{DESCRIPTION_PATH} names no flavors; an MLflow model has at least one")
    if not all(isinstance(name, str) and isinstance(settings, dict) for name, settings in flavors.items()):
        raise FormatError(f"a flavor in {DESCRIPTION_PATH} is not a mapping under a name")
    return flavors
