from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from export import program
from export.program import build_pyz


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
    assert {"__main__.py", "mlkd/images.py", "export/tagger/tagger.py", "pipeline/device/tagging.py"} <= set(names)
    assert not [name for name in names if name.startswith(("mlkd/models", "mlkd/losses", "mlkd/data", "tests"))]
    assert "export/to_onnx.py" not in names


def test_a_missing_source_of_the_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.program.ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a source file of tagger.pyz, got none"):
        build_pyz(tmp_path / "a.pyz")


def test_another_source_is_another_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = program.digest()
    assert before == program.digest()
    (tmp_path / "mlkd").mkdir()
    (tmp_path / "mlkd/images.py").write_text("changed = True\n")
    monkeypatch.setattr(program, "PARTS", ("mlkd/images.py",))
    same = program.digest()
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert len({before, same, program.digest()}) == 3
