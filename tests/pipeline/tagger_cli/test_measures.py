from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import output_check
from benchmarks.device import measure, throughput
from benchmarks.device.image_pack import write_pack
from export.backends import OnnxRuntime, Session
from export.errors import MissingRuntimeError
from export.tagger import Tagger
from mlkd.core.images import load
from pipeline.tagger_cli import main
from tests.helpers import bundles


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def listing(folder: Path, files: list[Path]) -> str:
    (folder / "list.txt").write_text("".join(f"{file}\n" for file in files))
    return str(folder / "list.txt")


def test_bench_prints_raw_samples_that_add_up(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = listing(tmp_path, list(images.values()))
    options = ["--engine", "onnxruntime-fp32", "--queries", "10", "--warmup-s", "0.2"]
    assert main(["bench", "--bundle", str(folder), "--images", listed, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    samples = result["samples"]
    parts = np.sum([samples[f"{part}_ms"] for part in ("decode", "resize", "infer", "post")], axis=0)
    np.testing.assert_allclose(parts, samples["end_to_end_ms"], rtol=1e-9)
    assert len(samples["engine_ms"]) == 10
    assert min(samples["engine_ms"]) > 0
    assert result["queries"] == 10
    assert result["throughput"] is None
    assert result["sustained"] is None
    assert output_check.process(result)["samples"] == samples
    assert result["first_ms"] > 0
    assert result["load_ms"] > 0
    assert result["sha256"] == json.loads((folder / "manifest.json").read_text())["files"]["models/fp32.onnx"]["sha256"]
    assert result["ran"]["provider"]
    assert isinstance(result["settled"], bool)
    assert result["built_here"] is False


def test_bench_goes_on_and_searches_for_throughput_when_asked(
    folder: Path,
    images: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throughput, "TRIAL_S", 0.01)
    options = ["--queries", "2", "--warmup-s", "0", "--throughput", "--sustained-s", "0.1", "--least-s", "0.05"]
    options += ["--engine", "openvino-fp32", "--images", listing(tmp_path, list(images.values()))]
    assert main(["bench", "--bundle", str(folder), *options]) == 0
    result = output_check.process(json.loads(capsys.readouterr().out))
    best = result["throughput"]
    assert [best["batch"], best["streams"], best["images_per_second"]] in best["tried"]
    at = [*options[:4], "--throughput-at", "3", "1", *options[-4:]]
    assert main(["bench", "--bundle", str(folder), *at]) == 0
    again = output_check.process(json.loads(capsys.readouterr().out))["throughput"]
    assert (again["batch"], again["streams"], [one[:2] for one in again["tried"]]) == (3, 1, [[3, 1]] * 3)
    assert result["sustained"]["seconds"] > 0.05
    assert sum(result["samples"]["end_to_end_ms"]) > 25  # least_s
    assert sum(result["samples"]["engine_ms"]) > 25


def test_a_pack_and_a_list_give_the_same_sample(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(images.values()) * 3
    pack = write_pack(files, tmp_path / "images.zip")
    packed, listed = (measure.read_sources(file) for file in (pack, Path(listing(tmp_path, files))))
    chosen = measure.sample(packed, 5, seed=3)
    assert chosen == [file.read_bytes() for file in measure.sample(listed, 5, seed=3)]
    assert measure.sample(packed, 99, seed=3) != list(packed)
    assert sorted(measure.sample(packed, 99, seed=3)) == sorted(packed)
    assert measure.sample(packed, None, seed=3) == list(packed)
    found = []
    for source in (pack, tmp_path / "list.txt"):
        out = tmp_path / source.stem
        options = ["--images", str(source), "--out", str(out), "--engine", "openvino-fp32"]
        assert main(["scores", "--bundle", str(folder), *options]) == 0
        found.append((out / "openvino-fp32.npy").read_bytes())
    assert found[0] == found[1]
    (tmp_path / "list.txt").write_text("\n")
    assert main(["bench", "--bundle", str(folder), "--images", str(tmp_path / "list.txt")]) == 2
    assert "expected a text file with one image's path a line" in capsys.readouterr().err


def test_bench_takes_the_next_engine_if_one_does_not_open(
    folder: Path,
    images: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise MissingRuntimeError("expected f32, got bf16")

    monkeypatch.setattr(OnnxRuntime, "open", fails)
    bench = ["bench", "--bundle", str(folder), "--images", listing(tmp_path, [images["red"]])]
    bench += ["--queries", "1", "--warmup-s", "0"]
    assert main(bench) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "openvino-fp32"
    assert main([*bench, "--engine", "onnxruntime-fp32"]) == 2
    assert "expected f32, got bf16" in capsys.readouterr().err


def test_scores_decodes_once_for_several_engines_and_equals_the_library(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(images.values()) * 3
    engines = ["onnxruntime-fp32", "openvino-fp32"]
    named = [word for engine in engines for word in ("--engine", engine)]
    options = ["--images", listing(tmp_path, files), "--out", str(tmp_path / "out"), "--batch", "5", *named]
    assert main(["scores", "--bundle", str(folder), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert all(entry["error"] is None for entry in told.values())
    files_there = json.loads((folder / "manifest.json").read_text())["files"]
    assert told["openvino-fp32"]["sha256"] == files_there["engines/fp32.xml"]["sha256"]
    assert output_check.scores(told["openvino-fp32"]) == told["openvino-fp32"]
    pixels = np.stack([load(file, bundles.PX) for file in files])
    for engine in engines:
        with Tagger.load(folder, engine) as tagger:
            expected = tagger.scores(pixels)
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{engine}.npy"), expected, atol=1e-6)


def test_an_engine_of_small_batches_gets_them_in_pieces(
    folder: Path, images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_engine, files = OnnxRuntime.open, list(images.values()) * 2

    def open_small(backend: OnnxRuntime, engine: Path) -> Session:
        session = open_engine(backend, engine)
        session.max_batch = 3
        return session

    options = ["--images", listing(tmp_path, files), "--out", str(tmp_path), "--engine", "onnxruntime-fp32"]
    assert main(["scores", "--bundle", str(folder), *options]) == 0
    whole = np.load(tmp_path / "onnxruntime-fp32.npy")
    monkeypatch.setattr(OnnxRuntime, "open", open_small)
    assert main(["scores", "--bundle", str(folder), *options]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "onnxruntime-fp32.npy"), whole, atol=1e-6)


def test_one_engine_that_fails_does_not_spoil_the_scores_of_another(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--engine", "tensorrt-fp16-sm86", "--engine", "onnxruntime-fp32"]
    options = ["--images", listing(tmp_path, [images["red"]]), "--out", str(tmp_path), *named]
    assert main(["scores", "--bundle", str(folder), *options]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "expected one that runs" in report["tensorrt-fp16-sm86"]["error"]
    assert report["onnxruntime-fp32"]["error"] is None
    assert np.load(tmp_path / "onnxruntime-fp32.npy").shape == (1, 3)
