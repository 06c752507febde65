"""What is shipped: the wheel is built once from a copy of the sources, and used outside the checkout."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

LIGHT = {
    "alembic", "blake3", "click", "fsspec", "msgpack", "numpy", "platformdirs", "rich", "sqlalchemy", "zstandard",
}  # fmt: skip


def _run(*argv: str | Path, cwd: Path, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CAS_", "PYTHON"))}
    done = subprocess.run(
        argv, cwd=cwd, env={**clean, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from nothing but what is shipped: no leftovers of other builds can get into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("cas", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    out = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out)
    _run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment that has the wheel; dependencies are lent by this one's."""
    place = tmp_path_factory.mktemp("installed")
    _run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    programs = place / "venv" / "bin"
    _run(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "--no-index", wheel,
         cwd=place)  # fmt: skip
    # A line in a .pth file adds a folder but runs no .pth file in it: the editable install of this checkout stays out.
    site = _run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip()
    Path(site, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = _run(programs / "python", "-c", "import cas; print(cas.__file__)", cwd=place).strip()
    assert Path(where).is_relative_to(place), "the checkout was imported, not the wheel"
    return programs


@pytest.mark.slow
def test_one_wheel_serves_all_pythons(wheel: Path):
    """The extension uses the stable ABI, and the wheel's tag says so."""
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version) == ("cas", PROJECT["project"]["version"])
    assert (python, abi) == ("cp311", "abi3")
    assert platform != "any"


@pytest.mark.slow
def test_wheel_ships_all_that_is_needed_and_nothing_else(wheel: Path):
    """Migrations, the typing marker and the licence are in; tests, tools and strangers are out."""
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"cas-{PROJECT['project']['version']}.dist-info"
    migrations = {f"cas/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations").rglob("*.py")}

    assert {"cas/py.typed", f"{info}/licenses/LICENSE", "cas/migrations/env.py"} <= names
    assert migrations <= names
    assert any(
        re.fullmatch(r"cas/migrations/versions/\w+\.py", name)
        for name in names - {"cas/migrations/versions/__init__.py"}
    )
    assert {name.partition("/")[0] for name in names} == {"cas", info}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler: cas is meant to install without one")
def test_wheel_has_the_compiled_kernels(wheel: Path, installed: Path):
    """Where there is a compiler the C kernels are built, and the installed command says that it uses them."""
    assert "cas/kernels/_native.abi3.so" in zipfile.ZipFile(wheel).namelist()
    assert "kernels: C" in _run(installed / "cas", "--version", cwd=installed)


@pytest.mark.slow
def test_installing_brings_light_dependencies_only(wheel: Path):
    """`pip install cas` pulls exactly the ten light packages; whatever is heavier is an extra."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    plain = {re.split(r"[^\w-]", line)[0].lower() for line in required if "extra ==" not in line}
    assert plain == LIGHT


@pytest.mark.slow
def test_installed_wheel_upgrades_its_index_and_works(installed: Path, tmp_path: Path):
    """Outside the checkout: make a store, upgrade its index, put and pull."""
    content = tmp_path / "checkpoint"
    content.mkdir()
    (content / "weights").write_bytes(b"1234")
    env = {"HOME": str(tmp_path), "CAS_STORE": str(tmp_path / "store")}

    assert PROJECT["project"]["version"] in _run(installed / "cas", "--version", cwd=tmp_path, **env)
    _run(installed / "cas", "init", tmp_path / "store", cwd=tmp_path, **env)
    assert "->" in _run(installed / "cas", "db", "upgrade", cwd=tmp_path, **env)
    name = _run(installed / "cas", "put", content, cwd=tmp_path, **env).strip()
    _run(installed / "cas", "pull", name, tmp_path / "pulled", cwd=tmp_path, **env)
    assert (tmp_path / "pulled" / "weights").read_bytes() == b"1234"


def test_listed_packages_are_the_folders_that_exist():
    """A new folder that nobody lists would be missing from the wheel, and only there."""
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "cas").rglob("*.py")}
    folders |= {f"cas/{path.parent.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations").rglob("*.py")}
    listed = {name.replace(".", "/") for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert listed == folders
