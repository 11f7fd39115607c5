"""The command line of the program, where engines of the bundle do not fit the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.backends import OpenVino
from pipeline.tagger_cli import main
from tests.helpers import bundles

OPENVINO = "openvino-fp32"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edge-tagger/engines"


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> str:
    work = tmp_path_factory.mktemp("rebuilds")
    return str(bundles.write_stale(bundles.write_colours(work / "colours", work / "work"), work))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bundles.write_images(tmp_path_factory.mktemp("images"))["red"])


def facts(bundle: str, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["info", "--json", "--bundle", bundle, *options]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed | {"engines": {engine["name"]: engine for engine in printed["engines"]}}


def test_tag_says_why_it_refuses_and_what_builds_it(stale: str, red: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "--bundle", stale, "--engine", OPENVINO, red]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "a stale one" in err
    assert "`tag --rebuild` builds it on this device" in err


def test_tag_rebuilds_when_asked_and_says_so(
    stale: str, red: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = ["tag", "--bundle", stale, "--engine", OPENVINO, "--verbose", "--threshold", "0.4", red]
    assert main([*tag, "--rebuild"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{red}: red 0.49\n"  # sigmoid(6 * 254 / 255 - 6): a JPEG's red is 254
    assert f"engine {OPENVINO}: requested; openvino, f32; built on this device: {cache}" in err
    assert main(tag) == 0  # from the cache
    assert capsys.readouterr() == (out, err)
    assert main(["tag", "--bundle", stale, "--engine", OPENVINO, red]) == 0
    assert capsys.readouterr().err == f"engine {OPENVINO}: thresholds were tuned on the bundle's own file\n"


def test_info_says_what_opens_here_and_builds_what_does_not(
    stale: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = facts(stale, capsys)
    assert all(engine["lacks"] and engine["built_here"] is None for engine in before["engines"].values())
    assert before["chosen"]["engine"] is None
    one = facts(stale, capsys, "--rebuild", "--engine", OPENVINO)
    assert one["engines"][OPENVINO]["built_here"].startswith(str(cache))
    assert "a stale one" in one["engines"]["onnxruntime-fp32"]["lacks"]
    assert one["chosen"] == {"engine": OPENVINO, "why": "requested"}
    every = facts(stale, capsys, "--rebuild")
    assert every["engines"]["onnxruntime-fp32"]["built_here"].startswith(str(cache))
    assert every["engines"]["tensorrt-fp16-sm86"]["built_here"] is None
    assert every["chosen"]["engine"] == "onnxruntime-fp32"
    assert main(["info", "--bundle", stale]) == 0
    assert f"runs here, built on this device: {cache}" in capsys.readouterr().out


@pytest.mark.parametrize(("engine", "code"), [(["--engine", OPENVINO], 1), ([], 0)])
def test_info_shows_what_could_not_be_built(
    stale: str, cache: Path, capsys: pytest.CaptureFixture[str], engine: list[str], code: int
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("not a folder")
    assert main(["info", "--json", "--bundle", stale, "--rebuild", *engine]) == code
    engines = {engine["name"]: engine for engine in json.loads(capsys.readouterr().out)["engines"]}
    assert len(engines) == 3
    assert "expected a writable folder for a rebuilt engine" in engines[OPENVINO]["lacks"]


def test_bench_and_scores_run_what_was_built(
    stale: str, red: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(red)
    given = ["--bundle", stale, "--engine", OPENVINO, "--images", str(listed)]
    bench = ["bench", *given, "--queries", "2", "--warmup-s", "0.1"]
    assert main(bench) == 2
    assert "`info --rebuild`" in capsys.readouterr().err
    facts(stale, capsys, "--rebuild", "--engine", OPENVINO)
    monkeypatch.setattr(OpenVino, "compile", lambda *_: pytest.fail("built while it was measured"))
    assert main(bench) == 0
    assert json.loads(capsys.readouterr().out)["built_here"] is True
    assert main(["scores", *given, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / f"{OPENVINO}.npy").is_file()
