"""`tagger.pyz tag` and what it writes to: odd names, readers that leave, interrupts, terminals."""

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
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.tagger import output

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


def ended(folder: Path, *words: str | Path, shell: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """The shipped file in a process that has ended; with redirections of the shell."""
    command = [sys.executable, str(folder / "tagger.pyz"), *map(str, words)]
    command = ["sh", "-c", f'"$@" {shell}', "sh", *command] if shell else command
    return subprocess.run(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more)


def started(folder: Path, *words: str | Path) -> subprocess.Popen[str]:
    """The shipped file at work."""
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", *map(str, words)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered)


@pytest.mark.parametrize(("form", "locale"), [("--json", ASCII), ("--csv", UTF_8), ("--verbose", ASCII)])
def test_names_that_no_encoding_has_are_printed(
    folder: Path, images: dict[str, Path], tmp_path: Path, form: str, locale: dict[str, str]
) -> None:
    for name in (b"\xff.jpg", "日本\n.jpg".encode()):
        shutil.copy(images["red"], os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / os.fsdecode(b"\xff-broken.jpg")).touch()
    words = ["tag", "--engine", "onnxruntime-fp32", form, tmp_path]
    tagged = ended(folder, *words, env=os.environ | locale, text=False)
    assert tagged.returncode == 1, tagged.stderr
    assert b"Traceback" not in tagged.stderr
    failed = 2 if form == "--csv" else 1  # a table has no row for a name that is not UTF-8
    assert tagged.stderr.splitlines()[-1] == b"%d of 3 images failed" % failed
    out = tagged.stdout.decode("utf-8")
    if form == "--json":
        found = [json.loads(line) for line in out.splitlines()]
        names = {os.fsencode(one["image"]) for one in found}
        assert names == {os.fsencode(file) for file in tmp_path.iterdir()}
    elif form == "--csv":
        rows = list(csv.DictReader(io.StringIO(out, newline="")))
        assert [bool(row["error"]) for row in rows].count(True) == failed
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
    tagged = ended(folder, "tag", images["red"], shell="<&-")
    assert tagged.returncode == 0, tagged.stderr


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_without_a_standard_output_one_line_says_so(folder: Path, images: dict[str, Path], closed: str) -> None:
    tagged = ended(folder, "tag", images["red"], shell=closed)
    assert tagged.returncode == 2
    told = "tagger: standard output: expected it open, got it closed; redirect it to /dev/null instead\n"
    assert tagged.stderr == (told if closed == ">&-" else "")


INTERRUPTED = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "pipeline.tagger_cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
"""
SWALLOWING = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1_000_000): pass
except KeyboardInterrupt:
    raise ImportError("a part failed to import") from None
"""


@pytest.mark.parametrize(
    ("module", "source"),
    [("sitecustomize", INTERRUPTED), *((name, SWALLOWING) for name in ("argparse", "numpy", "onnxruntime"))],
)
def test_an_interrupt_while_modules_are_loaded_is_one_line(
    folder: Path, images: dict[str, Path], tmp_path: Path, module: str, source: str
) -> None:
    """Also one that an import turns into an error, as NumPy does among others, and Python where a class is made."""
    (tmp_path / f"{module}.py").write_text(source)
    words = ["tag", "--engine", "onnxruntime-fp32", images["red"]]
    tagged = ended(folder, *words, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (tagged.returncode, tagged.stdout, tagged.stderr) == (130, "", "tagger: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_full_disk_is_one_line(folder: Path, images: dict[str, Path]) -> None:
    with Path("/dev/full").open("w") as full:
        tagged = ended(folder, "tag", "--csv", images["red"], stdout=full)
    assert tagged.returncode == 2, tagged.stderr
    line = tagged.stderr.splitlines()[-1]
    assert line.startswith("tagger: ")
    assert "No space left on device" in line
    assert "Exception ignored" not in tagged.stderr


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
    run: Any, images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "EVERY_S", 1e-9)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    files = [*images.values(), tmp_path / "missing.jpg", *images.values()]
    out, _ = run("tag", *files, code=1)
    assert len(out.splitlines()) == len(files) - 1
    shown = terminal.getvalue()
    assert " 2 of 9, " in shown
    assert " 6 of 9, " in shown
    assert "1 failed" in shown
    drawn = re.split("\r *\r", shown)
    assert sum(part.startswith(f"tagger: {tmp_path}/missing.jpg: ") for part in drawn) == 1  # in a line of its own
    assert "9 of 9" in drawn[-2]
    assert drawn[-1] == "1 of 9 images failed\n"
