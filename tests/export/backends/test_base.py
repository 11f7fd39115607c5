"""What all backends share: engines are written whole or not at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from export.backends.base import atomic_output

SMALL = """
import resource, sys
from pathlib import Path
from export.backends import OnnxRuntime, OpenVino
model, out, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
backend = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino()}[kind]
if kind == "onnxruntime":  # its profile is a file as well: only the copy shall meet the limit
    backend.open_graph(model).close()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    backend.compile(model, out)
except OSError as cause:
    print(cause.errno, cause)
print(sorted(file.name for file in out.iterdir()))
"""


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_no_room_for_an_engine(fp32: Path, tmp_path: Path, kind: str) -> None:
    """A limit on a file's size stands for the full disk: the writes fail half-way in the same place."""
    size = fp32.stat().st_size * 3 // 4
    command = [sys.executable, "-c", SMALL, str(fp32), str(tmp_path / "out"), kind, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, left = done.stdout.splitlines()
    assert told.startswith(f"{errno.ENOSPC} ")
    assert "expected room for an engine, got" in told
    assert "MB are free" in told
    assert left == "[]", "no half engine"


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
