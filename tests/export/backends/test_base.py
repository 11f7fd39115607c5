"""What all backends share: engines are written whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from export.backends import OnnxRuntime, OpenVino
from export.backends.base import atomic_output, check_file
from export.errors import EngineError
from tests.helpers.small_disk import largest_file


@pytest.mark.parametrize("backend", [OnnxRuntime(), OpenVino()], ids=lambda backend: backend.kind)
def test_no_room_for_an_engine(fp32: Path, tmp_path: Path, backend: Any) -> None:
    """The writes fail half-way in the engine."""
    text = r"expected room for an engine, got.*MB are free"
    with largest_file(fp32.stat().st_size * 3 // 4), pytest.raises(OSError, match=text) as raised:
        backend.compile(fp32, tmp_path / "out")
    assert raised.value.errno == errno.ENOSPC
    assert list((tmp_path / "out").iterdir()) == [], "no half engine"


def test_the_stamp_of_an_older_engine_does_not_outlive_it(tmp_path: Path) -> None:
    (tmp_path / "a.xml.stamp.json").write_text("old")
    with atomic_output(tmp_path) as folder:
        (folder / "a.xml").write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.xml"]


def test_another_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path) as folder:
        (folder / "a.xml").write_text(str((folder / "a.bin").stat()))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.xml", "old")]


def test_a_path_that_no_runtime_takes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "a.onnx").touch()
    with pytest.raises(EngineError, match="expected a path in UTF-8, got other bytes; move the file"):
        check_file(folder / "a.onnx", (".onnx",), "ONNX Runtime")
