"""`tagger.pyz bench` for a person: a table of the engines, each measured in a process of its own."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import tagger_process
from benchmarks.device.image_pack import read_pack
from benchmarks.device.tagger_process import ProcessFailedError

Images = dict[str, Path]
ENGINES = ("tensorrt-fp16-sm86", "onnxruntime-fp32", "openvino-fp32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Recorder:
    """Stands for the processes: what they were told, and an answer of known figures."""

    def __init__(self) -> None:
        self.command: list[str] = []
        self.told: list[list[str]] = []
        self.measured_with: list[bytes] = []
        self.failing = ""

    def __call__(self, command: list[str], timeout_s: float) -> Recorder:
        self.command = command
        return self

    def run(self, *words: str) -> dict[str, Any]:
        self.told.append(list(words))
        self.measured_with = list(read_pack(Path(words[words.index("--images") + 1])))
        if words[2] == self.failing:
            raise ProcessFailedError("tagger: no memory\nhere")
        return {
            "samples": {"end_to_end_ms": [1.0, 2.0, 3.0, 4.0, 11.0], "engine_ms": [0.5, 0.25, 0.75]},
            "throughput": {
                "images_per_second": 1234.5 if "--throughput-at 8 2" in " ".join(words) else 9999.0,
                "batch": 8,
                "streams": 2,
            },
            "load_ms": 98.7,
            "bytes": 2_345_678,
            "peak_rss_mb": None if words[2] == ENGINES[2] else 101.2,
            "wrong": None,
        }


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(tagger_process, "Program", lambda *given: recorder(*given).run)
    return recorder


def test_the_table_has_the_figures_of_every_engine_or_why_not(run: Any, recorder: Recorder) -> None:
    options = ["--queries", "7", "--warmup-s", "0.5", "--threads", "2", "--least-s", "1"]
    head, *rows, lacking, _, _, machine = run("bench", *options)[0].splitlines()
    columns = ["p50 ms", "p90 ms", "engine ms", "images/s", "load ms", "file MB", "memory MB"]
    assert re.split("  +", head.strip()) == columns
    assert lacking.startswith(f"not measured: {ENGINES[0]}: ")
    assert rows[0].split() == [ENGINES[1], "3.00", "8.20", "0.50", "1234", "99", "2.3", "101"]
    assert rows[1].split() == [ENGINES[2], "3.00", "8.20", "0.50", "1234", "99", "2.3", "-"]
    assert len(head) == len(rows[0])
    assert " cores: " in machine
    assert recorder.command == [sys.executable, str(run.bundle / "tagger.pyz")]
    named = [["bench", "--engine", name] for name in ENGINES[1:] for _ in range(2)]
    assert [words[:3] for words in recorder.told] == named
    given = " ".join(recorder.told[2])
    assert "--queries 7 --least-s 1.0 --warmup-s 0.5 --threads 2 --throughput" in given
    golden = [file.read_bytes() for file in (run.bundle / "golden").glob("[0-9]*")]
    assert sorted(recorder.measured_with) == sorted(golden)


def test_images_of_ones_own_a_sample_of_them_and_none_that_is_broken(
    run: Any, images: Images, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name, file in images.items():
        shutil.copy(file, own / f"{name}\n.jpg")
    (own / "broken.jpg").write_text("no image")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bytes that are none")))
    bench = ["bench", "--engine", ENGINES[1]]
    _, err = run(*bench, own, "-", tmp_path / "*.gif")
    assert sorted(recorder.measured_with) == sorted(file.read_bytes() for file in images.values())
    assert "image broken.jpg: expected" in err
    assert "image 19 bytes: expected" in err
    assert "*.gif: expected an image" in err
    run(*bench, own, "--sample", "2", "--seed", "3")
    assert len(recorder.measured_with) <= 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(images["red"].read_bytes())))
    run(*bench, "-")
    assert recorder.measured_with == [images["red"].read_bytes()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["EMPTY"], "expected at least one readable image, got none"),
        (["--throughput"], "expected --images FILE"),
        (["--sustained-s", "1"], "expected --images FILE"),
        (["--images", "list.txt", "x.jpg"], "expected one --engine and no other images with --images"),
        (
            ["--images", "list.txt", "--engine", ENGINES[1], "--engine", ENGINES[2]],
            "expected one --engine and no other images with --images",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    run: Any, recorder: Recorder, tmp_path: Path, words: list[str], message: str
) -> None:
    assert message in run.refuse("bench", *(tmp_path if word == "EMPTY" else word for word in words))
    assert recorder.told == []


@pytest.mark.parametrize(
    ("engines", "code"), [((ENGINES[0],), 1), ((ENGINES[0], ENGINES[1]), 1), ((ENGINES[1],), 0), (("tflite",), 2)]
)
def test_an_engine_that_was_asked_for_and_failed_is_an_error(
    run: Any, recorder: Recorder, engines: tuple[str, ...], code: int
) -> None:
    run("bench", *(word for engine in engines for word in ("--engine", engine)), code=code)


def test_an_engine_that_fails_is_a_line_below_the_table(run: Any, recorder: Recorder) -> None:
    recorder.failing = ENGINES[2]
    assert f"\nnot measured: {ENGINES[2]}: tagger: no memory here\n" in run("bench")[0]
    run("bench", "--engine", ENGINES[1], "--engine", ENGINES[2], code=1)


def test_the_shipped_file_measures_itself(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(folder / "tagger.pyz"), "bench", "--queries", "2", "--warmup-s", "0"]
    command += ["--engine", ENGINES[1], "--engine", ENGINES[0]]
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.stderr == ""
    assert ended.returncode == 1
    _, onnxruntime, lacking, *_ = ended.stdout.splitlines()
    assert all(float(figure) > 0 for figure in onnxruntime.split()[1:6])
    assert lacking.startswith(f"not measured: {ENGINES[0]}: ")
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
