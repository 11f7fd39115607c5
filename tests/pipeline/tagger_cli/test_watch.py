"""`tagger.pyz tag --watch`: what arrives is tagged, each image once, until a signal ends the program."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import xmp

pytestmark = pytest.mark.usefixtures("cache")
Images = dict[str, Path]


class Watching:
    """The shipped program at work on the folder `in`."""

    def __init__(self, bundle: Path, work: Path) -> None:
        self.bundle, self.work, self.folder = bundle, work, work / "in"
        self.folder.mkdir()

    @contextmanager
    def __call__(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        fixed = ["--engine", "onnxruntime-fp32", "--interval", "0.1", "--state", str(self.work / "state")]
        command = [sys.executable, str(self.bundle / "tagger.pyz"), "tag", "--watch", str(self.folder), *fixed, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith(f"watching {self.folder}; tagged images: ")
                yield process
            finally:
                process.kill()


@pytest.fixture
def watching(folder: Path, tmp_path: Path) -> Watching:
    return Watching(folder, tmp_path)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str], by: signal.Signals) -> tuple[str, str]:
    """What is still printed by a program that ends as it should."""
    process.send_signal(by)
    printed = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    return printed


def test_each_version_of_an_image_is_tagged_once(watching: Watching, images: Images) -> None:
    at = watching.folder
    shutil.copy(images["red"], at / "a.jpg")
    with watching("--json") as process:
        assert json.loads(line(process))["tags"][0]["label"] == "red"
        (at / "broken.jpg").write_bytes(images["red"].read_bytes()[:300])
        assert json.loads(line(process))["image"] == f"{at}/broken.jpg"
        shutil.copy(images["blue"], at / "a.jpg")
        changed = json.loads(line(process))
        assert (changed["image"], changed["tags"][0]["label"]) == (f"{at}/a.jpg", "blue")
        out, err = end(process, signal.SIGTERM)
    assert out == ""
    assert err.startswith(f"tagger: {at}/broken.jpg: image broken.jpg: expected a whole image, got ")
    assert len(err.splitlines()) == 1
    with watching() as process:
        shutil.copy(images["green"], at / "b.jpg")
        assert line(process) == f"{at}/b.jpg: green 1.00\n"
        assert end(process, signal.SIGINT) == ("", "")


def test_a_killed_program_goes_on_where_it_was(watching: Watching, images: Images) -> None:
    for name in ("red", "green", "blue"):
        shutil.copy(images[name], watching.folder)
    with watching() as process:
        printed = [line(process) for _ in range(3)]
        process.kill()
    shutil.copy(images["yellow"], watching.folder)
    with watching() as process:
        again = [line(process)]
        while "yellow" not in again[-1]:
            again.append(line(process))
        end(process, signal.SIGTERM)
    assert set(again[:-1]) <= {printed[-1]}  # the last one may have been printed and not been recorded


def test_sidecars_are_written_and_do_not_count_as_images(watching: Watching, images: Images) -> None:
    at = watching.folder
    shutil.copy(images["red"], at / "a.jpg")
    (at / "b.jpg.xmp").write_text("not XMP")
    with watching("--xmp", "--csv") as process:
        assert line(process) == "image,tags,scores,error,doubtful,verdict\n"
        assert line(process).startswith(f"{at}/a.jpg,red,")
        shutil.copy(images["blue"], at / "b.jpg")
        assert "b.jpg.xmp: expected well-formed XML" in line(process)
        shutil.copy(images["green"], at / "c.jpg")
        assert line(process).startswith(f"{at}/c.jpg,green,")
        out, err = end(process, signal.SIGTERM)
    assert out == ""
    assert err.startswith(f"tagger: {at}/b.jpg: {at}/b.jpg.xmp: expected well-formed XML, got: ")
    assert [xmp.tags((at / f"{name}.jpg.xmp").read_bytes()) for name in "ac"] == [["red"], ["green"]]
    assert (at / "b.jpg.xmp").read_text() == "not XMP"
    (at / "b.jpg.xmp").unlink()
    with watching("--xmp") as process:  # what could not be written is tried again
        assert line(process) == f"{at}/b.jpg: blue 1.00\n"
        assert end(process, signal.SIGTERM) == ("", "")
    assert xmp.tags((at / "b.jpg.xmp").read_bytes()) == ["blue"]


def test_a_reader_that_goes_away_ends_it(watching: Watching, images: Images) -> None:
    shutil.copy(images["red"], watching.folder / "a.jpg")
    with watching() as process:
        line(process)
        assert process.stdout is not None
        process.stdout.close()
        shutil.copy(images["red"], watching.folder / "b.jpg")
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch", "IMAGE"], "IMAGE: expected a folder to watch, got a file"),
        (["--watch", "missing"], "missing: expected a folder to watch, got none"),
        (["--interval", "3", "IMAGE"], "--interval and --state: expected --watch with them, got none"),
        (["--watch", "FOLDER", "--threshold", "2"], "threshold: expected a score of 0 to 1, got 2"),
        (
            ["--watch", "FOLDER", "--state", "IMAGE"],
            "IMAGE: expected the state of --watch, got: file is not a database; name another file with --state",
        ),
    ],
)
def test_a_wrong_command_line_is_refused(run: Any, images: Images, words: list[str], message: str) -> None:
    image = str(images["red"])
    places = {"IMAGE": image, "FOLDER": str(images["red"].parent)}
    err = run.refuse("tag", *(places.get(word, word) for word in words))
    assert message.replace("IMAGE", image) in err.splitlines()[-1]


@pytest.mark.parametrize("text", ["0", "abc", "nan", "inf", ""])
def test_an_interval_is_a_time(run: Any, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit):
        run("tag", "--watch", ".", "--interval", text)
    assert f"--interval: expected a number of seconds above 0, got {text}\n" in capsys.readouterr().err
