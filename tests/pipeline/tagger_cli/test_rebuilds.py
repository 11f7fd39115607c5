"""The command line of the program, where engines of the bundle do not fit the device."""

from pathlib import Path
from typing import Any

import pytest

from export.backends import OpenVino
from tests.helpers import bundles

OPENVINO = "openvino-fp32"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edge-tagger/engines"


@pytest.fixture(scope="module")
def folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose engines were compiled from another graph."""
    return bundles.write_stale(folder, tmp_path_factory.mktemp("rebuilds"))


@pytest.fixture
def red(images: dict[str, Path]) -> Path:
    return images["red"]


def facts(run: Any, *options: str, code: int = 0) -> dict[str, Any]:
    printed: dict[str, Any] = run.json("info", "--json", *options, code=code)
    return printed | {"engines": {engine["name"]: engine for engine in printed["engines"]}}


def test_tag_says_why_it_refuses_and_what_builds_it(run: Any, red: Path) -> None:
    err = run.refuse("tag", "--engine", OPENVINO, red)
    assert len(err.splitlines()) == 1
    assert "a stale one" in err
    assert "`tag --rebuild` builds it on this device" in err


def test_tag_rebuilds_when_asked_and_says_so(run: Any, red: Path, cache: Path) -> None:
    tag = ["tag", "--engine", OPENVINO, "--verbose", "--threshold", "0.4", red]
    out, err = run(*tag, "--rebuild")
    assert out == f"{red}: red 0.49\n"  # sigmoid(6 * 254 / 255 - 6): a JPEG's red is 254
    assert f"engine {OPENVINO}: requested; openvino, f32; built on this device: {cache}" in err
    assert run(*tag) == (out, err), "from the cache"
    _, err = run("tag", "--engine", OPENVINO, red)
    assert err == f"engine {OPENVINO}: thresholds were tuned on the bundle's own file\n"


def test_info_says_what_opens_here_and_builds_what_does_not(run: Any, cache: Path) -> None:
    before = facts(run)
    assert all(engine["lacks"] and engine["built_here"] is None for engine in before["engines"].values())
    assert before["chosen"]["engine"] is None
    one = facts(run, "--rebuild", "--engine", OPENVINO)
    assert one["engines"][OPENVINO]["built_here"].startswith(str(cache))
    assert "a stale one" in one["engines"]["onnxruntime-fp32"]["lacks"]
    assert one["chosen"] == {"engine": OPENVINO, "why": "requested"}
    every = facts(run, "--rebuild")
    assert every["engines"]["onnxruntime-fp32"]["built_here"].startswith(str(cache))
    assert every["engines"]["tensorrt-fp16-sm86"]["built_here"] is None
    assert every["chosen"]["engine"] == "onnxruntime-fp32"
    assert f"runs here, built on this device: {cache}" in run("info")[0]


@pytest.mark.parametrize(("engine", "code"), [(["--engine", OPENVINO], 1), ([], 0)])
def test_info_shows_what_could_not_be_built(run: Any, cache: Path, engine: list[str], code: int) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("not a folder")
    engines = facts(run, "--rebuild", *engine, code=code)["engines"]
    assert len(engines) == 3
    assert "expected a writable folder for a rebuilt engine" in engines[OPENVINO]["lacks"]


def test_bench_and_scores_run_what_was_built(
    run: Any, red: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(str(red))
    given = ["--engine", OPENVINO, "--images", listed]
    bench = ["bench", *given, "--queries", "2", "--warmup-s", "0.1"]
    assert "`info --rebuild`" in run.refuse(*bench)
    facts(run, "--rebuild", "--engine", OPENVINO)
    monkeypatch.setattr(OpenVino, "compile", lambda *_: pytest.fail("built while it was measured"))
    assert run.json(*bench)["built_here"] is True
    run("scores", *given, "--out", tmp_path / "out")
    assert (tmp_path / "out" / f"{OPENVINO}.npy").is_file()
