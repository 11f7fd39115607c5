"""What `pip install .` installs: all files of the four packages, their dependencies, two programs."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest
import tomllib

from export import __version__
from pipeline.cli import run
from pipeline.tagger_cli import main as tagger

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
OPTIONAL = {"pillow_heif", "tensorrt", "tensorrt_rtx"}  # used if installed


def test_the_wheel_has_every_file_of_the_packages() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    kept = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    listed = subprocess.run(["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert kept == {name for name in listed.stdout.split("\0") if name}
    assert {f"{package}/py.typed" for package in PACKAGES} <= kept


def test_every_import_is_of_a_dependency() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = {_name(line) for line in (*PROJECT["project"]["dependencies"], *(x for extra in extras for x in extra))}
    providers = metadata.packages_distributions()
    missing = {
        module: sorted(map(str, files))
        for module, files in _imports().items()
        if not declared & {_name(provider) for provider in providers.get(module, [])}
    }
    assert missing == {}


def _name(requirement: str) -> str:
    """The normalised name of a distribution, without version and marker."""
    for mark in "<>=!~;[ ":
        requirement = requirement.partition(mark)[0]
    return requirement.lower().replace("_", "-")


def _imports() -> dict[str, set[Path]]:
    """Modules of others that the packages import, and where."""
    found: dict[str, set[Path]] = {}
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names}:
                if name not in sys.stdlib_module_names and name not in PACKAGES and name not in OPTIONAL:
                    found.setdefault(name, set()).add(file.relative_to(ROOT))
    return found


@pytest.mark.parametrize("script", PROJECT["project"]["scripts"].values())
def test_programs_exist(script: str) -> None:
    module, _, function = script.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(("program", "name"), [(run, "edge-tagger"), (tagger, "tagger")])
def test_programs_print_their_version(
    program: Callable[[], int], name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--version"])
    with pytest.raises(SystemExit) as ended:
        program()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {__version__}\n"


def test_missing_extras_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("pipeline.cli.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Without("argparse"), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "argparse")
    assert run() == 2
    told = "edge-tagger: No module named 'argparse'; pip install 'edge-tagger[train,export,report]'\n"
    assert capsys.readouterr().err == told


class _Without(MetaPathFinder):
    """Finds no module of a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == self.name:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def test_the_pinned_ruff_is_that_of_the_lock() -> None:
    locked = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("ruff=="))
    version = locked.partition("==")[2].split()[0]
    assert f"rev: v{version}\n" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_citation_has_the_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
