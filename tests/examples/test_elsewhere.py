"""The programs in examples/elsewhere give the scores of the tagger; those of other languages are slow tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openvino
import pytest

from mlkd.core.images import PREPROCESSING
from tests.helpers.positions import expected, redescribed, set_thresholds

ELSEWHERE = Path(__file__).parents[2] / "examples/elsewhere"
NOTHING = "nothing above its threshold"
RUNTIME = Path(str(openvino.__file__)).parent
STEPS = ("jpeg", "resize", "values")  # of the preprocessing, that the programs compare
Build = Callable[[Path], list[str]]


def check(command: list[str], bundle: Path, photos: list[Path], tolerance: float, tmp_path: Path) -> None:
    """Compare all scores at thresholds of 0, in the order of the scores; at 2 there is no tag."""
    printed = tags_of([*command, str(bundle), *map(str, photos)])
    assert list(printed) == [str(photo) for photo in photos]
    for photo in photos:
        tags = [tag.rsplit(" ", 1) for tag in printed[str(photo)].split(", ")]
        scores = {label: float(score) for label, score in tags}
        assert scores == pytest.approx(expected(photo), abs=tolerance + 0.005), photo.name
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    none = shutil.copytree(bundle, tmp_path / "none")
    set_thresholds(none, 2)
    assert tags_of([*command, str(none), str(photos[0])]) == {str(photos[0]): NOTHING}


def check_refusals(command: list[str], bundle: Path, photo: Path, tmp_path: Path) -> None:
    """Without arguments there is a usage; a description or image that the program cannot use is named."""
    assert "usage: " in error_of(command)
    others = [{"version": 99}, *({"preprocessing": PREPROCESSING | {step: "another"}} for step in STEPS)]
    for number, fields in enumerate(others):
        other = redescribed(bundle, tmp_path / f"other{number}", **fields)
        error = error_of([*command, str(other), str(photo)])
        assert re.search(f"{other}/tagger.json: expected .*version.*, got .*(99|another)", error), error
    assert str(tmp_path / "missing/tagger.json") in error_of([*command, str(tmp_path / "missing"), str(photo)])
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    assert str(broken) in error_of([*command, str(bundle), str(broken)])


def error_of(command: list[str]) -> str:
    """The errors of a program that prints nothing else and fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode > 0, ended.stdout) == (True, "")
    return ended.stderr


def tags_of(command: list[str]) -> dict[str, str]:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(line.split(": ", 1) for line in ended.stdout.splitlines())


def make(command: list[str], folder: Path, needs: str, **environment: str) -> None:
    """Run a command of a build; the test is skipped if one of the programs it needs is missing."""
    missing = [name for name in needs.split() if shutil.which(name) is None]
    if missing:
        pytest.skip(f"expected {needs}, got no {', '.join(missing)}; install it (docs/elsewhere.md)")
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if "npm" in command and ended.returncode:
        pytest.skip(f"npm cannot install: {ended.stderr[-300:]}")
    assert ended.returncode == 0, ended.stderr


def node(folder: Path) -> list[str]:
    shutil.copytree(ELSEWHERE / "node", folder)
    make(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], folder, "npm node")
    return ["node", str(folder / "tag.js")]


def cpp(folder: Path) -> list[str]:
    folder.mkdir()
    make(["cmake", str(ELSEWHERE / "cpp"), "-D", f"OpenVINO_DIR={RUNTIME / 'cmake'}"], folder, "cmake g++ pkg-config")
    make(["cmake", "--build", "."], folder, "cmake g++")
    return [str(folder / "tag")]


def go(folder: Path) -> list[str]:
    folder.mkdir()
    libraries = RUNTIME / "libs"
    name = next(libraries.glob("libopenvino_c.so*")).name
    make(
        ["go", "build", "-o", str(folder / "tag"), "."], ELSEWHERE / "go", "go gcc",
        CGO_CFLAGS=f"-I{RUNTIME / 'include'}", CGO_LDFLAGS=f"-L{libraries} -l:{name} -Wl,-rpath,{libraries}",
    )  # fmt: skip
    return [str(folder / "tag")]


def test_python(bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, str(ELSEWHERE / "python/tag.py")]
    check(command, bundle, photos, 0.0001, tmp_path)
    check_refusals(command, bundle, photos[0], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "tolerance"), [(node, 0.05), (cpp, 0.001), (go, 0.05)])
def test_other_languages(build: Build, tolerance: float, bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    command = build(tmp_path / "program")
    check(command, bundle, photos, tolerance, tmp_path)
    check_refusals(command, bundle, photos[0], tmp_path)
