"""Engines of a bundle that cannot be opened as they were shipped: what is said, and what is opened instead."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import Parts, parts_of, read_bundle, write_bundle
from export.errors import EngineError, MissingRuntimeError, NoEngineError
from export.tagger import Tagger
from export.tagger.opening import open_engine
from export.tagger.rebuilding import key_of
from tests.helpers import bundles

OPENVINO = "openvino-fp32"
Never = Callable[[type, str], None]  # the fixture: a method that must not be called
REFUSED = r"`info --rebuild` or `tag --rebuild` builds it on this device"


def test_a_stale_engine_is_refused_before_the_runtime_gets_it(stale: Path, never: Never) -> None:
    never(OpenVino, "open")
    with pytest.raises(NoEngineError, match=rf"{OPENVINO}: .*built from models/fp32.onnx.*a stale one.*{REFUSED}"):
        Tagger.load(stale, OPENVINO)


def test_a_stale_engine_is_passed_over_unless_asked_for(colours: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    old = bundles.restamped(colours, tmp_path / "bundle", work, graph="0" * 64)
    bundles.with_manifest(old, old, engines=read_bundle(old).engines[::-1])
    with Tagger.load(old) as tagger:
        assert tagger.choice.entry.name == "onnxruntime-fp32"
        stale = f"{OPENVINO}: engine {OPENVINO}: expected one built from models/fp32.onnx"
        assert stale in tagger.choice.rejected
    with Tagger.load(old, rebuild=True) as tagger:
        assert tagger.choice.entry.name == OPENVINO


def test_what_fits_is_used_as_shipped(colours: Path, cache: Path, never: Never) -> None:
    never(OpenVino, "compile")
    with Tagger.load(colours, OPENVINO, rebuild=True) as tagger:
        assert tagger.rebuilt is None
    assert not cache.exists()


def test_another_version_of_a_portable_runtime_is_opened(colours: Path, tmp_path: Path) -> None:
    foreign = bundles.restamped(colours, tmp_path / "bundle", tmp_path, runtime="openvino 2020.1", os="Linux armv7l")
    Tagger.load(foreign, OPENVINO).close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a stamp in JSON, got"),
        ('{"runtime": "openvino 2026.4"}', "expected the fields device, graph, "),
        ("another runtime", "expected an engine of openvino, got one of tensorrt 10.3"),
    ],
)
def test_a_wrong_stamp_is_refused_and_the_engine_rebuilt(
    colours: Path, tmp_path: Path, pixels: NDArray[np.uint8], content: str, message: str
) -> None:
    if content == "another runtime":
        wrong = bundles.restamped(colours, tmp_path / "bundle", tmp_path, runtime="tensorrt 10.3")
    else:
        (tmp_path / "stamp").write_text(content)
        wrong = bundles.changed(colours, tmp_path / "bundle", {"engines/fp32.xml.stamp.json": tmp_path / "stamp"})
    with pytest.raises(NoEngineError, match=rf"{message}.*{REFUSED}"):
        Tagger.load(wrong, OPENVINO)
    with Tagger.load(wrong, OPENVINO, rebuild=True) as again, Tagger.load(colours, OPENVINO) as shipped:
        np.testing.assert_array_equal(again.scores(pixels), shipped.scores(pixels))


def test_an_engine_shipped_without_its_stamp_is_refused(colours: Path, tmp_path: Path) -> None:
    parts = parts_of(colours)
    files = ("engines/fp32.xml", "engines/fp32.bin")
    engines = (dataclasses.replace(parts.manifest.engine(OPENVINO), files=files),)
    golden = (*parts.manifest.golden, parts.manifest.golden_expected)
    sources = {path: parts.sources[path] for path in (*files, *golden, "models/fp32.onnx")}
    manifest = dataclasses.replace(parts.manifest, engines=engines)
    write_bundle(Parts(manifest=manifest, sources=sources), tmp_path / "bundle")
    with pytest.raises(NoEngineError, match=rf"expected its stamp fp32.xml.stamp.json beside it, got none.*{REFUSED}"):
        Tagger.load(tmp_path / "bundle", OPENVINO)


def test_an_engine_that_was_never_built_is_its_graph_until_the_device_builds_it(colours: Path, tmp_path: Path) -> None:
    never_built = {"file": "models/fp32.onnx", "files": ("models/fp32.onnx",)}
    bundle = bundles.changed(colours, tmp_path / "bundle", {}, openvino=never_built)
    with pytest.raises(NoEngineError, match=rf"one built for this device, got its graph models/fp32.onnx; {REFUSED}"):
        Tagger.load(bundle, OPENVINO)
    with Tagger.load(bundle, OPENVINO, rebuild=True) as tagger:
        assert tagger.runtime_info.provider == "openvino"


def test_what_nncf_made_cannot_be_rebuilt(stale: Path, tmp_path: Path, never: Never) -> None:
    entry = read_bundle(stale).engine(OPENVINO)
    engines = (dataclasses.replace(entry, name="openvino-int8", precision="int8_openvino"), entry)
    bundles.with_manifest(stale, tmp_path / "bundle", engines=engines)
    Tagger.load(tmp_path / "bundle", OPENVINO, rebuild=True).close()  # of the same graph, but not the engine asked for
    never(OpenVino, "compile")
    message = r"stale.* cannot be rebuilt here: expected a graph of int8_openvino in the bundle, got models/fp32.onnx"
    with pytest.raises(NoEngineError, match=rf"{message} of fp32; take openvino-fp32, or export the bundle again"):
        Tagger.load(tmp_path / "bundle", "openvino-int8", rebuild=True)


def test_without_the_runtime_nothing_is_rebuilt(stale: Path, monkeypatch: pytest.MonkeyPatch, never: Never) -> None:
    monkeypatch.setattr(
        OpenVino, "unavailable_reason", lambda _: "openvino: expected the package openvino; pip install openvino"
    )
    never(OpenVino, "compile")
    with pytest.raises(NoEngineError, match=r"pip install openvino$"):
        Tagger.load(stale, OPENVINO, rebuild=True)
    manifest = read_bundle(stale)
    with pytest.raises(MissingRuntimeError, match=r"pip install openvino$"):  # more to the point than that it is stale
        open_engine(stale, manifest, manifest.engine(OPENVINO), OpenVino(), rebuild=True)


def test_a_device_that_computes_otherwise_than_asked_is_no_reason_to_rebuild(
    colours: Path, monkeypatch: pytest.MonkeyPatch, never: Never
) -> None:
    def other(*_: object) -> None:
        raise MissingRuntimeError("fp32.xml: expected float products in f32, got bf16")

    monkeypatch.setattr(OpenVino, "open", other)
    never(OpenVino, "compile")
    with pytest.raises(NoEngineError, match=r"got bf16$"):
        Tagger.load(colours, OPENVINO, rebuild=True)


def test_precisions_of_one_graph_do_not_share_what_was_built() -> None:
    assert key_of("0" * 64, "fp32", OpenVino()) != key_of("0" * 64, "int8_openvino", OpenVino())


@pytest.mark.parametrize("error", [MissingRuntimeError, EngineError])
def test_an_engine_that_fails_to_open_makes_room_for_the_next(
    colours: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fails(*_: object) -> None:
        raise error("expected f32, got bf16")

    monkeypatch.setattr(OnnxRuntime, "open", fails)
    with Tagger.load(colours) as tagger:
        assert tagger.choice.entry.name == OPENVINO
        assert "onnxruntime-fp32: expected f32, got bf16" in tagger.choice.rejected
