from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.backends import OnnxRuntime
from export.bundle import parts_of, write_bundle
from pipeline.device import main
from tests import bundles


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("device")
    return bundles.write_colours(work / "colours", work / "work")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bundles.write_pictures(tmp_path_factory.mktemp("pictures"))


def test_the_shipped_file_tags_from_anywhere(folder: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(folder / "tagger.pyz"), "tag", str(pictures["red"]), str(pictures["yellow"])]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    red, yellow = ended.stdout.splitlines()
    assert red == f"{pictures['red']}: red 1.00"
    assert "green 1.00" in yellow
    assert ended.stderr == ""
    assert not list(folder.rglob("__pycache__"))


def test_json_has_one_object_a_picture(
    folder: Path, pictures: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tag", "--bundle", str(folder), "--json", *map(str, pictures.values())]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["picture"] for line in lines] == [str(file) for file in pictures.values()]
    assert lines[2]["tags"] == [{"label": "blue", "score": pytest.approx(0.9975, abs=1e-3)}]


def test_broken_pictures_are_named_and_the_others_go_on(
    folder: Path, pictures: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(pictures["red"].read_bytes()[:300])
    files = [text, pictures["red"], tmp_path / "missing.jpg", cut, pictures["blue"]]
    assert main(["tag", "--bundle", str(folder), *map(str, files)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{pictures['red']}: red 1.00", f"{pictures['blue']}: blue 1.00"]
    for name in ("text.jpg", "missing.jpg", "cut.jpg"):
        assert sum(name in line and "expected" in line for line in err.splitlines()) == 1
    assert "3 of 5 pictures failed" in err
    assert "Traceback" not in err


def test_a_broken_picture_is_a_json_line_too(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    assert main(["tag", "--bundle", str(folder), "--json", str(tmp_path / "text.jpg")]) == 1
    assert "expected" in json.loads(capsys.readouterr().out)["error"]


def test_options_reach_the_tagger(folder: Path, pictures: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engine", "openvino-fp32", "--threshold", "0", "--top-k", "2", "--verbose"]
    assert main(["tag", "--bundle", str(folder), str(pictures["red"]), *options]) == 0
    out, err = capsys.readouterr()
    assert out == f"{pictures['red']}: red 1.00, green 0.00\n"
    assert err.startswith("engine openvino-fp32: asked for; ")


def test_nothing_above_the_threshold_is_said(
    folder: Path, pictures: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tag", "--bundle", str(folder), str(pictures["red"]), "--threshold", "2"]) == 0
    assert capsys.readouterr().out.endswith(": nothing above its threshold\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "x.jpg", "--engine", "tflite"], "engine: expected one of tensorrt-fp16-sm86, .* got 'tflite'"),
        (["tag", "x.jpg", "--engine", "tensorrt-fp16-sm86"], "expected one that runs on this machine, got tensorrt"),
        (["bench", "--pictures", "/nowhere/list.txt"], "/nowhere/list.txt"),
        (["scores", "--engine", "tflite", "--pictures", "LIST", "--out", "out"], "got 'tflite'"),
        (
            ["bench", "--pictures", "EMPTY"],
            "expected a text file with one picture's path a line, or a pack, got no path",
        ),
    ],
)
def test_user_errors_are_one_line_and_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "EMPTY").write_text("\n")
    (tmp_path / "LIST").write_text("x.jpg\n")
    words = [str(tmp_path / word) if word in ("EMPTY", "LIST", "out") else word for word in arguments]
    assert main([*words, "--bundle", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


def test_a_folder_without_a_bundle_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--bundle", str(tmp_path)]) == 2
    assert "manifest.json: expected a file of the bundle, got none" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest.json"):
        main(["info", "--debug", "--bundle", str(tmp_path)])


@pytest.mark.parametrize("arguments", [[], ["fly"], ["tag"], ["tag", "x.jpg", "--top-k", "0"], ["bench", "--nonsense"]])
def test_a_wrong_command_line_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: tagger" in capsys.readouterr().err


def test_info_says_what_runs_here_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--bundle", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "tensorrt-fp16-sm86" in text
    assert "cannot run here: " in text
    assert "engine: onnxruntime-fp32: the first in the bundle's order that runs here" in text
    assert main(["info", "--bundle", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["chosen"]["engine"] == "onnxruntime-fp32"
    assert facts["labels"] == list(bundles.LABELS)


def test_borrowed_thresholds_are_said(
    folder: Path, pictures: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = parts_of(folder)
    borrowed = (dataclasses.replace(entry, thresholds_from="b") for entry in parts.manifest.engines)
    about = dataclasses.replace(parts.manifest, engines=tuple(borrowed))
    write_bundle(dataclasses.replace(parts, manifest=about), tmp_path / "bundle")
    assert main(["tag", "--bundle", str(tmp_path / "bundle"), str(pictures["red"])]) == 0
    assert "engine onnxruntime-fp32: thresholds were tuned on b" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(folder: Path, pictures: dict[str, Path]) -> None:
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", *[str(pictures["red"])] * 5]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=buffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.bundle.read_bundle", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "tagger: interrupted\n"


def test_an_error_inside_a_runtime_is_one_line(
    folder: Path, pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class RuntimesOwnError(Exception):
        pass

    def broken(*_: object) -> None:
        raise RuntimesOwnError("kernel 7\nhas failed")

    monkeypatch.setattr(OnnxRuntime, "open", broken)
    assert main(["tag", "--bundle", str(folder), str(pictures["red"])]) == 2
    assert capsys.readouterr().err == "tagger: kernel 7 has failed\n"
