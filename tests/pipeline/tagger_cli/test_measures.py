"""`tagger.pyz bench --images` and `tagger.pyz scores`, whose output the pipeline reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import output_check
from benchmarks.device import measure, throughput
from benchmarks.device.image_pack import write_pack
from export.backends import OnnxRuntime, Session
from export.errors import MissingRuntimeError
from export.tagger import Tagger
from mlkd.core.images import load
from tests.helpers import bundles

ENGINES = ("onnxruntime-fp32", "openvino-fp32")
Images = dict[str, Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def listing(folder: Path, files: list[Path]) -> Path:
    (folder / "list.txt").write_text("".join(f"{file}\n" for file in files))
    return folder / "list.txt"


@pytest.fixture
def listed(images: Images, tmp_path: Path) -> Path:
    return listing(tmp_path, list(images.values()))


def test_bench_prints_raw_samples_that_add_up(run: Any, listed: Path) -> None:
    options = ["--engine", ENGINES[0], "--queries", "10", "--warmup-s", "0.2"]
    result = run.json("bench", "--images", listed, *options)
    samples = result["samples"]
    parts = np.sum([samples[f"{part}_ms"] for part in ("decode", "resize", "infer", "post")], axis=0)
    np.testing.assert_allclose(parts, samples["end_to_end_ms"], rtol=1e-9)
    assert len(samples["engine_ms"]) == 10
    assert min(samples["engine_ms"]) > 0
    assert result["throughput"] is None
    assert result["sustained"] is None
    assert asdict(output_check.read_process(result).samples) == samples
    assert result["first_ms"] > 0
    assert result["load_ms"] > 0
    manifest = json.loads((run.bundle / "manifest.json").read_text())
    assert result["sha256"] == manifest["files"]["models/fp32.onnx"]["sha256"]
    assert result["ran"]["provider"]
    assert isinstance(result["warm_up"]["settled"], bool)
    assert result["built_here"] is False


def test_bench_goes_on_and_searches_for_throughput_when_asked(
    run: Any, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "TRIAL_S", 0.01)
    bench = ["bench", "--engine", ENGINES[1], "--images", listed, "--queries", "2", "--warmup-s", "0"]
    longer = ["--throughput", "--sustained-s", "0.1", "--least-s", "0.05"]
    result = output_check.read_process(run.json(*bench, *longer))
    best = result.throughput
    assert (best.batch, best.streams, best.images_per_second) in best.tried
    assert result.sustained.seconds > 0.05
    assert sum(result.samples.end_to_end_ms) > 25  # least_s
    assert sum(result.samples.engine_ms) > 25
    again = output_check.read_process(run.json(*bench, "--throughput-at", "3", "1")).throughput
    assert (again.batch, again.streams, [trial[:2] for trial in again.tried]) == (3, 1, [(3, 1)] * 3)


def test_a_pack_and_a_list_give_the_same_sample(run: Any, images: Images, tmp_path: Path) -> None:
    files = list(images.values()) * 3
    pack, listed = write_pack(files, tmp_path / "images.zip"), listing(tmp_path, files)
    packed = measure.read_sources(pack)
    chosen = measure.sample(packed, 5, seed=3)
    assert chosen == [file.read_bytes() for file in measure.sample(measure.read_sources(listed), 5, seed=3)]
    assert measure.sample(packed, 99, seed=3) != list(packed)
    assert sorted(measure.sample(packed, 99, seed=3)) == sorted(packed)
    assert measure.sample(packed, None, seed=3) == list(packed)
    found = []
    for source in (pack, listed):
        out = tmp_path / source.stem
        run("scores", "--images", source, "--out", out, "--engine", ENGINES[1])
        found.append((out / f"{ENGINES[1]}.npy").read_bytes())
    assert found[0] == found[1]


def test_bench_takes_the_next_engine_if_one_does_not_open(
    run: Any, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MissingRuntimeError("expected f32, got bf16")

    monkeypatch.setattr(OnnxRuntime, "open", fails)
    bench = ["bench", "--images", listed, "--queries", "1", "--warmup-s", "0"]
    assert run.json(*bench)["engine"] == ENGINES[1]
    assert "expected f32, got bf16" in run.refuse(*bench, "--engine", ENGINES[0])


def test_scores_decodes_once_for_several_engines_and_equals_the_library(
    run: Any, images: Images, tmp_path: Path
) -> None:
    files = list(images.values()) * 3
    named = [word for engine in ENGINES for word in ("--engine", engine)]
    listed, out = listing(tmp_path, files), tmp_path / "out"
    told = run.json("scores", "--images", listed, "--out", out, "--batch", "5", *named)
    assert all(entry["error"] is None for entry in told.values())
    manifest = json.loads((run.bundle / "manifest.json").read_text())
    assert told[ENGINES[1]]["sha256"] == manifest["files"]["engines/fp32.xml"]["sha256"]
    assert asdict(output_check.read_score_result(told[ENGINES[1]])) == told[ENGINES[1]]
    pixels = np.stack([load(file, bundles.PX) for file in files])
    for engine in ENGINES:
        with Tagger.load(run.bundle, engine) as tagger:
            expected = tagger.scores(pixels)
        np.testing.assert_allclose(np.load(out / f"{engine}.npy"), expected, atol=1e-6)


def test_an_engine_of_small_batches_gets_them_in_pieces(
    run: Any, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_engine = OnnxRuntime.open

    def open_small(backend: OnnxRuntime, engine: Path) -> Session:
        session = open_engine(backend, engine)
        session.max_batch = 3
        return session

    scores = ["scores", "--images", listed, "--out", tmp_path, "--engine", ENGINES[0]]
    run(*scores)
    whole = np.load(tmp_path / f"{ENGINES[0]}.npy")
    monkeypatch.setattr(OnnxRuntime, "open", open_small)
    run(*scores)
    np.testing.assert_allclose(np.load(tmp_path / f"{ENGINES[0]}.npy"), whole, atol=1e-6)


def test_one_engine_that_fails_does_not_spoil_the_scores_of_another(run: Any, listed: Path, tmp_path: Path) -> None:
    named = ["--engine", "tensorrt-fp16-sm86", "--engine", ENGINES[0]]
    report = run.json("scores", "--images", listed, "--out", tmp_path, *named, code=1)
    assert "expected one that runs" in report["tensorrt-fp16-sm86"]["error"]
    assert report[ENGINES[0]]["error"] is None
    assert np.load(tmp_path / f"{ENGINES[0]}.npy").shape == (4, 3)
