"""An int8 engine that this processor's kernels compute wrong: found, named, and not used."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, saturation_probe, stamp
from export.backends.saturation_probe import saturates
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.bundle.manifest import ANY_PROCESSOR
from export.tagger import Tagger, engine_times, saturation_diagnosis
from export.tagger.selftest import Finding, check_engine
from pipeline.tagger_cli import main, testing
from tests.helpers import quantized, selftests
from tests.helpers.quantized import SATURATING, SEVEN_BITS, WITH_VNNI

NAMED = "this processor's int8 kernels saturate (x86 without VNNI): scores differ from exact arithmetic by up to 0."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized.write_saturating(tmp_path_factory.mktemp("saturating"))


def findings(folder: Path, engine: str, monkeypatch: pytest.MonkeyPatch, *, here: bool) -> Any:
    """What the self-test says of an engine whose kernels give half of each score; `here` is what the probe finds."""
    golden = Golden.read(folder, read_bundle(folder))

    def halved(tagger: Tagger, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with tagger.choice.backend.open_exact(tagger.engine) as exact:
            return exact(pixels) / 2

    monkeypatch.setattr(Tagger, "scores", halved)
    monkeypatch.setattr(saturation_diagnosis, "kernels_saturate", lambda: here)
    with Tagger.load(folder, engine) as tagger:
        return check_engine(tagger, golden)[0]


def test_kernels_that_saturate_are_named_with_their_drift(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden.read(folder, read_bundle(folder)).scores[SEVEN_BITS]
    finding = findings(folder, SEVEN_BITS, monkeypatch, here=True)
    assert (finding.state, finding.cause) == ("different", "saturation")
    largest, mean = golden.max() / 2, golden.mean() / 2
    assert finding.note == f"{NAMED[:-2]}{largest:.2g} (mean {mean:.2g})"


def test_other_processors_are_not_blamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(folder, SEVEN_BITS, monkeypatch, here=False).cause == "engine"


def test_an_engine_that_exact_arithmetic_finds_wrong_too_is_not_blamed_on_kernels(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shift(arrays: dict[str, Any]) -> None:
        arrays[f"scores:{SEVEN_BITS}"] = 1 - arrays[f"scores:{SEVEN_BITS}"]

    other = selftests.with_expected(folder, tmp_path, shift)
    assert findings(other, SEVEN_BITS, monkeypatch, here=True).cause == "engine"


@pytest.mark.parametrize(("name", "expected"), [("avx2", True), ("avx512_vnni", False), ("neon_dotprod", False)])
def test_without_onnxruntime_the_instruction_set_decides(
    name: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed() -> bool:
        raise ImportError("onnxruntime")

    monkeypatch.setattr(saturation_probe, "saturates", not_installed)
    monkeypatch.setattr(stamp, "instruction_set", lambda: name)
    assert saturation_probe.kernels_saturate() is expected


def test_only_engines_that_the_cpu_computes_are_explained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation_diagnosis, "kernels_saturate", lambda: pytest.fail("no processor is asked"))
    backend: Any = object()
    scores = np.zeros((1, 2), np.float32)
    assert saturation_diagnosis.saturation(backend, backend, [], scores, scores + 1, 0.1) is None


@pytest.mark.slow
def test_an_engine_of_eight_bits_on_this_very_processor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not saturates():
        pytest.skip("this processor computes int8 exactly; make arm emulates one that does not")
    assert main(["selftest", "--bundle", str(folder)]) == 0, "the bundle is right: this engine is for other processors"
    lines = capsys.readouterr().out.splitlines()
    assert f"scores of the engine: {SEVEN_BITS}" in lines
    assert lines[-2].startswith(f"not for this processor: {SATURATING}: {NAMED}")
    assert lines[-2].endswith(f"; it is meant for {WITH_VNNI}; `tag` does not use it here")
    assert lines[-1] == "self-test: passed"
    assert main(["selftest", "--bundle", str(folder), "--engine", SATURATING, "--engine", SEVEN_BITS]) == 1
    out = capsys.readouterr().out
    assert f"scores of the engine, {SATURATING}: different: saturation, by up to 0." in out
    assert NAMED in out
    assert out.splitlines()[-1] == (f"self-test: FAILED: saturation ({SATURATING}); use {SEVEN_BITS} on this processor")
    assert main(["selftest", "--bundle", str(folder), "--engine", SATURATING]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("; use another engine (selftest without --engine names those that pass) on this processor")
    image = str(next((folder / "golden").glob("*.png")))
    for engine, warned in ((SATURATING, True), (SEVEN_BITS, False)):
        assert main(["tag", "--bundle", str(folder), "--engine", engine, image]) == 0
        warning = f"tagger: warning: engine {engine}: wrong tags on this machine: {NAMED}"
        assert (warning in capsys.readouterr().err) == warned
    one = ["--queries", "2", "--warmup-s", "0", "--engine", SATURATING, "--engine", SEVEN_BITS]
    assert main(["bench", "--bundle", str(folder), *one]) == 0
    assert capsys.readouterr().out.count(f"  warning: wrong tags on this machine: {NAMED}") == 1
    with Tagger.load(folder) as tagger:
        assert tagger.choice.entry.name == SEVEN_BITS
        assert f"{SATURATING}: wrong tags on this machine: {NAMED}" in tagger.choice.rejected


@pytest.mark.parametrize(
    ("meant_for", "cause", "unfit"),
    [(WITH_VNNI, "saturation", True), (WITH_VNNI, "engine", False), (ANY_PROCESSOR, "saturation", False)],
)
def test_only_an_engine_for_other_processors_may_saturate(
    folder: Path, meant_for: str, cause: str, unfit: bool
) -> None:
    manifest = read_bundle(folder)
    engines = tuple(dataclasses.replace(entry, meant_for=meant_for) for entry in manifest.engines)
    finding = Finding(step="engine", subject=SATURATING, state="different", cause=cause, largest=0.5, note="0.5 off")
    found = testing._unfit([finding], dataclasses.replace(manifest, engines=engines))
    told = {SATURATING: f"0.5 off; it is meant for {WITH_VNNI}; `tag` does not use it here"}
    assert found == (told if unfit else {})


@pytest.mark.parametrize("engine", [SATURATING, SEVEN_BITS])
def test_exact_arithmetic_is_the_same_in_both_runtimes(folder: Path, engine: str) -> None:
    """So a bundle's expectations do not depend on which runtime computed them."""
    graph = folder / read_bundle(folder).engine(engine).file
    pixels = np.concatenate([one[None] for one in Golden.read(folder, read_bundle(folder)).pixels])
    with OnnxRuntime().open_exact(graph) as first, OpenVino().open_exact(graph) as second:
        np.testing.assert_allclose(first(pixels), second(pixels), atol=1e-5)


def test_tag_leaves_such_an_engine_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_bundle(folder)
    entry, golden = manifest.engine(SEVEN_BITS), Golden.read(folder, manifest)
    monkeypatch.setattr(saturation_diagnosis, "kernels_saturate", lambda: True)
    with OnnxRuntime().open(folder / entry.file) as session:
        assert engine_times.wrong_scores(entry, OnnxRuntime(), session, golden) is None
        run = session._run
        monkeypatch.setattr(session, "_run", lambda images: run(images) / 2)
        reason = engine_times.wrong_scores(entry, OnnxRuntime(), session, golden)
        assert reason is not None
        assert reason.startswith(f"wrong tags on this machine: {NAMED}")
        monkeypatch.setattr(saturation_diagnosis, "kernels_saturate", lambda: False)
        reason = engine_times.wrong_scores(entry, OnnxRuntime(), session, golden)
        assert reason is not None
        assert "saturate" not in reason
