import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

import export
from export import __version__
from export.bundle import program
from export.bundle.program import build_pyz


def test_the_program_has_equal_bytes_each_time(tmp_path: Path) -> None:
    first = build_pyz(tmp_path / "a.pyz").read_bytes()
    assert build_pyz(tmp_path / "b.pyz").read_bytes() == first
    assert first.startswith(b"#!/usr/bin/env python3\n")
    assert os.access(tmp_path / "a.pyz", os.X_OK)


def test_the_program_holds_all_it_imports_and_no_learning(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_pyz(tmp_path / "a.pyz")) as archive:
        names = archive.namelist()
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == sorted(names)
    assert {"__main__.py", "mlkd/core/images.py", "export/tagger/tagger.py", "pipeline/tagger_cli/tagging.py"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("mlkd/models", "mlkd/losses", "mlkd/data", "tests"))]
    assert "export/onnx/to_onnx.py" not in names


def test_the_version_is_that_of_the_project(tmp_path: Path) -> None:
    project = tomllib.loads((program.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (program.ROOT / project["tool"]["hatch"]["version"]["path"]).samefile(str(export.__file__))
    command = [sys.executable, build_pyz(tmp_path / "tagger.pyz"), "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert printed == f"tagger {__version__}\n"


def test_the_import_rule_covers_everything_that_ships() -> None:
    project = tomllib.loads((program.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = [rule for rule in project["tool"]["importlinter"]["contracts"] if "device" in rule["name"]]
    covered = tuple(f"{module}." for module in rule["source_modules"])
    assert all(f"{part.removesuffix('.py').replace('/', '.')}.".startswith(covered) for part in program.PARTS)


def test_a_missing_source_of_the_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.bundle.program.ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a source file of tagger.pyz, got none"):
        build_pyz(tmp_path / "a.pyz")


def test_another_source_is_another_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = program.digest()
    assert before == program.digest()
    (tmp_path / "mlkd/core").mkdir(parents=True)
    (tmp_path / "mlkd/core/images.py").write_text("changed = True\n")
    monkeypatch.setattr(program, "PARTS", ("mlkd/core/images.py",))
    same = program.digest()
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert len({before, same, program.digest()}) == 3


def test_a_program_keeps_its_version_when_the_link_to_it_is_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules are read from the file when they are needed first."""
    (tmp_path / "mlkd/core").mkdir(parents=True)
    shutil.copy(program.ROOT / "mlkd/core/processes.py", tmp_path / "mlkd/core")
    for package in ("mlkd", "mlkd/core"):
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "PARTS", ("mlkd", "pipeline"))
    (tmp_path / "pipeline/tagger_cli").mkdir(parents=True)
    waiting = "def main():\n print('ready', flush=True)\n input()\n from pipeline import late\n return late.WHO\n"
    (tmp_path / "pipeline/tagger_cli/__init__.py").write_text(waiting)
    (tmp_path / "pipeline/__init__.py").touch()
    for version in ("one", "another"):
        (tmp_path / "pipeline/a.py").write_text("#" * 100 * len(version))  # all that follows lies elsewhere
        (tmp_path / "pipeline/late.py").write_text(f"WHO = {version!r}")
        (tmp_path / version).mkdir()
        build_pyz(tmp_path / version / "tagger.pyz")
    (tmp_path / "current").symlink_to("one")
    command, pipe = [sys.executable, "current/tagger.pyz"], subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        (tmp_path / "next").symlink_to("another")
        (tmp_path / "next").replace(tmp_path / "current")
        assert running.communicate("\n") == ("", "one\n")
    assert subprocess.run(command, cwd=tmp_path, input="\n", stderr=pipe, text=True, check=False).stderr == "another\n"
