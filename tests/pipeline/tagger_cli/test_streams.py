"""`tagger.pyz tag` and what it writes to: odd names, readers that leave, interrupts, terminals."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.tagger import output
from pipeline.tagger_cli import main

pytestmark = pytest.mark.usefixtures("cache")
MANY = 400
UTF_8 = {"LC_ALL": "C.UTF-8"}
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take some milliseconds each."""
    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0.jpg", quality=95)
    for at in range(1, MANY):
        os.link(folder / "0.jpg", folder / f"{at}.jpg")
    return folder


def tagged(folder: Path, capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> tuple[str, str]:
    """What is printed on standard output and standard error."""
    assert main(["tag", "--bundle", str(folder), *map(str, words)]) == code
    return capsys.readouterr()


def started(folder: Path, *words: str | Path) -> subprocess.Popen[str]:
    """The shipped file at work."""
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", *map(str, words)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered)


@pytest.mark.parametrize(
    ("form", "locale"), [("--json", ASCII), ("--csv", UTF_8), ("--verbose", ASCII), ("--verbose", UTF_8)]
)
def test_names_that_no_encoding_has_are_printed(
    folder: Path, images: dict[str, Path], tmp_path: Path, form: str, locale: dict[str, str]
) -> None:
    for name in (b"\xff.jpg", "日本\n.jpg".encode()):
        shutil.copy(images["red"], os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / os.fsdecode(b"\xff-broken.jpg")).touch()
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", "--engine", "onnxruntime-fp32", form, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, env=os.environ | locale, check=False)
    assert ended.returncode == 1, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == b"1 of 3 images failed"
    out = ended.stdout.decode("utf-8")
    if form == "--json":
        found = [json.loads(line) for line in out.splitlines()]
        names = {os.fsencode(one["image"]) for one in found}
        assert names == {os.fsencode(file) for file in tmp_path.iterdir()}
    elif form == "--csv":
        rows = list(csv.DictReader(io.StringIO(out, newline="")))
        assert [bool(row["error"]) for row in rows].count(True) == 1
        assert f"{tmp_path}/\\udcff.jpg" in {row["image"] for row in rows}
    else:
        assert len(out.splitlines()) == 2
        assert f"{tmp_path}/\\udcff.jpg: red 1.00" in out.splitlines()


def test_a_reader_that_goes_away_is_no_error(folder: Path, images: dict[str, Path]) -> None:
    with started(folder, "--engine", "onnxruntime-fp32", "--json", *[images["red"]] * 200) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_without_a_standard_input_files_are_tagged(folder: Path, images: dict[str, Path]) -> None:
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", str(images["red"])]
    ended = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_without_a_standard_output_one_line_says_so(folder: Path, images: dict[str, Path], closed: str) -> None:
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", str(images["red"])]
    ended = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True)
    assert ended.returncode == 2
    told = "tagger: standard output: expected it open, got it closed; redirect it to /dev/null instead\n"
    assert ended.stderr == (told if closed == ">&-" else "")


INTERRUPTED = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "pipeline.tagger_cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
"""


def test_an_interrupt_while_modules_are_loaded_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    ended = subprocess.run(
        [sys.executable, str(folder / "tagger.pyz"), "info"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "tagger: interrupted\n")


SWALLOWING = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1_000_000): pass
except KeyboardInterrupt:
    raise ImportError("a part failed to import") from None
"""


@pytest.mark.parametrize("package", ["argparse", "numpy", "onnxruntime"])
def test_an_interrupt_that_an_import_turns_into_an_error_is_still_one(
    folder: Path, images: dict[str, Path], tmp_path: Path, package: str
) -> None:
    """As NumPy does among others, and Python where a class is made."""
    (tmp_path / f"{package}.py").write_text(SWALLOWING)
    words = ["tag", "--engine", "onnxruntime-fp32", str(images["red"])]
    ended = subprocess.run(
        [sys.executable, str(folder / "tagger.pyz"), *words], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "tagger: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_full_disk_is_one_line(folder: Path, images: dict[str, Path]) -> None:
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", "--csv", str(images["red"])]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("tagger: ")
    assert "No space left on device" in line
    assert "Exception ignored" not in ended.stderr


def test_the_first_start_says_what_takes_a_moment(
    folder: Path, images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = [started(folder, images["red"]).communicate() for _ in range(2)]
    assert said[0][0] == said[1][0]
    assert said[0][1] == "tagger: engines are timed once; the next start is faster\n"
    assert said[1][1] == ""


def test_an_interrupt_ends_the_workers_too(folder: Path, many: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").touch()
    with started(folder, tmp_path, *[many] * 20) as process:
        assert process.stderr is not None
        assert "broken.jpg" in process.stderr.readline()  # at once, before the others
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert err == "tagger: interrupted\n"
    assert process.returncode == 130
    assert len(out.splitlines()) < 20 * MANY


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_many_images_have_a_bar_on_a_terminal_that_leaves_nothing(
    folder: Path,
    images: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "EVERY_S", 1e-9)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    files = [*images.values(), tmp_path / "missing.jpg", *images.values()]
    out, _ = tagged(folder, capsys, *files, code=1)
    assert len(out.splitlines()) == len(files) - 1
    shown = terminal.getvalue()
    assert " 2 of 9, " in shown
    assert " 6 of 9, " in shown
    assert "1 failed" in shown
    drawn = re.split("\r *\r", shown)
    assert sum(part.startswith(f"tagger: {tmp_path}/missing.jpg: ") for part in drawn) == 1  # in a line of its own
    assert "9 of 9" in drawn[-2]
    assert drawn[-1] == "1 of 9 images failed\n"
