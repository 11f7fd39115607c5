"""`tagger.pyz` where a runtime ends the process that imports it, and where nothing can be written."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.device.tagger_process import ProcessFailedError, Program
from export.backends import runtime_import
from export.tagger.selftest_process import self_test

RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx")
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def run(folder: Path, *words: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    """The shipped file in a process of its own."""
    command = [sys.executable, str(folder / "tagger.pyz"), *map(str, words)]
    variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=folder.parent)


def package(place: Path, name: str, source: str) -> Path:
    """A package that is found before the one installed, version 9.8.7."""
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").write_text(source)
    about = place / f"{name}-9.8.7.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8.7\n")
    return place


@pytest.fixture
def one_dies(tmp_path: Path) -> dict[str, str | Path]:
    place = package(tmp_path / "packages", "onnxruntime", DIES)
    return {"PYTHONPATH": place, "XDG_CACHE_HOME": tmp_path / "cache"}


def test_a_runtime_that_ends_the_process_is_found_out_before_it_does(
    folder: Path, images: dict[str, Path], tmp_path: Path, one_dies: dict[str, str | Path]
) -> None:
    """As on an old processor, which lacks an instruction: at the first start, whatever the command."""
    tagged = run(folder, "tag", "--verbose", images["red"], **one_dies)
    assert tagged.returncode == 0, tagged.stderr
    assert tagged.stdout == f"{images['red']}: red 1.00\n"
    assert "engine openvino-fp32: " in tagged.stderr
    (record,) = tmp_path.glob("cache/edge-tagger/imports/onnxruntime-*.json")
    assert json.loads(record.read_text()) == {"end": "SIGILL"}
    reason = f"got onnxruntime 9.8.7, whose import crashed a process with SIGILL (delete {record} to test it again)"
    assert reason in tagged.stderr
    for command in ("selftest", "info"):
        told = run(folder, command, **one_dies)
        assert told.returncode == 0, told.stderr
        assert f"onnxruntime: expected the package onnxruntime, {reason}" in told.stdout


def test_where_every_runtime_ends_the_process_one_line_says_so(
    folder: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    for name in RUNTIMES:
        package(tmp_path / "packages", name, DIES)
    packages = {"PYTHONPATH": tmp_path / "packages", "XDG_CACHE_HOME": tmp_path / "cache"}
    ended = run(folder, "tag", images["red"], **packages)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith("tagger: engine: expected one that runs on this machine, got ")
    assert "onnxruntime 9.8.7, whose import crashed a process with SIGILL" in ended.stderr
    assert "openvino 9.8.7, whose import crashed a process with SIGILL" in ended.stderr


def test_an_odd_record_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    record = runtime_import._cache_file("colorsys")
    assert record is not None
    for content in ("", "{", "[]", '{"end": 3}', '{"end": "SIGILL", "x": ""}', "[" * 100_000, "\0"):
        record.write_text(content)
        assert runtime_import.crash_reason.__wrapped__("colorsys") is None
        assert json.loads(record.read_text()) == {"end": ""}
    record.write_text('{"end": "SIGILL"}')
    assert runtime_import.crash_reason.__wrapped__("colorsys") is not None


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (DIES, "SIGILL"),
        (DIES.replace("SIGILL", "SIGABRT"), "SIGABRT"),
        ("raise SystemExit(3)", "exit code 3"),
        (DIES.replace("SIGILL", "SIGKILL"), None),  # the memory was full: that says nothing of the package
        ("1 / 0", ""),
    ],
)
def test_how_an_import_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, end: str | None) -> None:
    package(tmp_path / "packages", "some_runtime", source)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert runtime_import._probe("some_runtime") == end


def test_a_runtime_that_cannot_be_imported_is_named_and_passed_over(
    folder: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    place = package(tmp_path / "packages", "onnxruntime", "1 / 0")
    tagged = run(folder, "tag", "--verbose", images["red"], PYTHONPATH=place, XDG_CACHE_HOME=tmp_path / "cache")
    assert (tagged.returncode, tagged.stdout) == (0, f"{images['red']}: red 1.00\n")
    lacking = "onnxruntime-fp32: onnxruntime: expected the package onnxruntime, got division by zero; "
    assert lacking in tagged.stderr


def nothing_can_be_written() -> None:
    """For any user, in any folder, the temporary ones included; what is piped goes on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.slow
def test_where_nothing_can_be_written_images_are_tagged(folder: Path, images: dict[str, Path], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    ended = {}
    for words in (("tag", "--verbose", str(images["red"])), ("selftest",), ("bench",)):  # selftest opens all engines
        ended[words[0]] = subprocess.run(
            [sys.executable, str(folder / "tagger.pyz"), *words], capture_output=True, text=True, cwd=tmp_path,
            env={**environment, "HOME": str(tmp_path)}, preexec_fn=nothing_can_be_written,
        )  # fmt: skip
    tagged, tested, benched = ended.values()
    assert (tagged.returncode, tagged.stdout) == (0, f"{images['red']}: red 1.00\n"), tagged.stderr
    assert tagged.stderr.count("no usable cache on this device") == 1
    assert "onnxruntime-fp32: the first in the bundle's order" in tagged.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "from files to scores: onnxruntime-fp32, openvino-fp32" in tested.stdout
    assert (benched.returncode, benched.stdout) == (2, "")
    (line,) = benched.stderr.splitlines()
    assert line.startswith("tagger: bench: expected a writable temporary folder, got: No usable temporary d")
    assert line.endswith("; set TMPDIR")


def test_children_find_the_packages_of_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PYTHONPATH too, relative as it may be."""
    package(tmp_path / "packages", "only_there", "")
    (tmp_path / "tagger.pyz").write_text("import only_there\nprint(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "packages")
    assert Program([sys.executable, str(tmp_path / "tagger.pyz")], 60)("bench") == 1
    self_test(tmp_path)  # raises unless the program ends with 0
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(ProcessFailedError, match="No module named 'only_there'"):
        Program([sys.executable, str(tmp_path / "tagger.pyz")], 60)("bench")
