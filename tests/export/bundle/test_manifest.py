import dataclasses
from pathlib import Path
from typing import Any

import pytest

from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import Manifest, Parts, parts_of, read_bundle, write_bundle
from export.errors import BundleError
from export.tagger.engine_choice import backend_of
from tests.helpers import bundles
from tests.helpers.manifests import rewrite


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "models/../../x", "a//b", "./a", "a\\..\\b", "C:/x", ""])
def test_a_path_that_leaves_the_folder_is_refused(copy: Path, path: str) -> None:
    rewrite(copy, lambda data: data["files"].update({path: data["files"]["card.md"]}))
    with pytest.raises(BundleError, match="expected a path inside the bundle, got"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=1), "schema: expected 3, got 1"),
        (lambda d: d.pop("schema"), "schema: expected 3, got None"),
        (lambda d: d.update(extra=1), "manifest.json.extra: expected one of .* got an unknown field"),
        (lambda d: d.pop("labels"), "manifest.json.labels: expected a value, got none"),
        (lambda d: d.update(image_px="16"), "manifest.json.image_px: expected int, got str"),
        (lambda d: d.update(image_px=True), "manifest.json.image_px: expected int, got bool"),
        (lambda d: d.update(labels=["red", 3]), "manifest.json.labels: expected tuple"),
        (lambda d: d.update(labels=["red", "red", "blue"]), "labels: expected distinct names"),
        (
            lambda d: d["engines"][0]["thresholds"].pop(),
            "engine onnxruntime-fp32: thresholds: expected 3, one a label, got 2",
        ),
        (
            lambda d: d["engines"][0]["tune_ap"].pop(),
            "engine onnxruntime-fp32: tune_ap: expected 3, one a label, got 2",
        ),
        (lambda d: d["engines"][0].update(expected_recall=["x", 1, 2]), "expected_recall: expected tuple"),
        (lambda d: d["engines"][0]["thresholds"].__setitem__(0, float("nan")), "expected JSON, got Out of range float"),
        (lambda d: d["engines"][0]["thresholds"].__setitem__(0, float("inf")), "expected JSON, got Out of range float"),
        (lambda d: d["engines"][0]["thresholds"].__setitem__(0, -0.1), "thresholds: expected 0 to 1, got -0.1"),
        (lambda d: d["engines"][0]["tune_ap"].__setitem__(0, 10**400), "tune_ap: expected 0 to 1, got 1000"),
        (lambda d: d["engines"][0].update(tune_map=7), "tune_map: expected 0 to 1, got 7"),
        (lambda d: d["engines"][0].update(p50_ms=-1.0), "p50_ms: expected 0 to .*, got -1.0"),
        (lambda d: d["engines"][0].update(name="a\x1b[2J"), "expected a printable name"),
        (lambda d: d["engines"][0].update(name="../a"), "expected a name without slashes, got '../a'; do not use"),
        (lambda d: d["engines"][0].update(name="..\\a"), "expected a name without slashes, got"),
        (lambda d: d["engines"][0].update(name=".a"), "expected a name without slashes, got '.a'"),
        (lambda d: d["engines"][0]["backend"].update(kind=["x"]), r"expected a printable name and a kind of backend"),
        (lambda d: d["engines"][0].update(name=" "), r"engines: expected distinct names, got \[' '\]"),
        (lambda d: d.update(labels=["red", "", "blue"]), "labels: expected distinct names"),
        (lambda d: d.update(labels=["red", "\ud800", "blue"]), "expected JSON, got .*surrogates"),
        (lambda d: d.update(image_px=0), "image_px: expected 1 to 4096, got 0"),
        (lambda d: d.update(image_px=10**9), "image_px: expected 1 to 4096, got 1000000000"),
        (lambda d: d["tune_positives"].__setitem__(0, -1), "tune_positives: expected 0 to .*, got -1"),
        (lambda d: d.update(golden=[]), "golden: expected an image, got none"),
        (lambda d: d["tune_positives"].pop(), "tune_positives: expected 3, one a label, got 2"),
        (lambda d: d.update(golden=["../1.png"]), "expected a path inside the bundle, got '../1.png'"),
        (lambda d: d.update(golden=["2.png"]), "golden images: expected 2.png in the manifest, got no such file"),
        (lambda d: d["engines"][0].update(file="other.onnx"), "expected its file other.onnx among its files"),
        (lambda d: d["engines"][0].update(files="x"), "engines.0.files: expected tuple.*got str"),
        (lambda d: d["engines"][0].pop("graph"), "engines.0.graph: expected a value, got none"),
        (lambda d: d["engines"][0].update(graph="../x.onnx"), "expected a path inside the bundle, got '../x.onnx'"),
        (lambda d: d["engines"][0].update(graph="x.onnx"), "expected x.onnx in the manifest, got no such file"),
        (lambda d: d["engines"].clear(), "engines: expected distinct names, got"),
        (lambda d: d["files"]["card.md"].update(bytes="11"), r"files.card.md.bytes: expected int, got str"),
        (lambda d: d["files"].update({"card.md": 3}), r"files.card.md: expected an object, got int"),
        (lambda d: d["files"].pop("models/fp32.onnx"), r"models/fp32.onnx: expected only files of the manifest"),
    ],
)
def test_a_wrong_manifest_is_refused(copy: Path, change: Any, message: str) -> None:
    rewrite(copy, change)
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"\xff{}", b"\xef\xbb\xbf{}", b"[" * 200_000, b'{"a": 1e999}', b"[3]"])
def test_what_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    rewrite(copy, lambda _: None, content)
    with pytest.raises(BundleError, match=r"manifest.json: .*expected .*, got "):
        read_bundle(copy)


def test_a_bundle_without_its_program_is_refused(copy: Path) -> None:
    rewrite(copy, lambda d: d["files"].pop("tagger.pyz"))
    (copy / "tagger.pyz").unlink()
    with pytest.raises(BundleError, match=r"expected tagger.pyz in the manifest, got no such file"):
        read_bundle(copy)


def test_thresholds_of_a_graph_hold_for_its_precision_alone(tmp_path: Path) -> None:
    """The graph of an int8 engine by NNCF is a float one, whose thresholds are other engines'."""
    graph, network = bundles.write_onnx(tmp_path / "fp32.onnx"), tmp_path / "a.xml"
    network.write_text("<net/>")
    paths = {"a.xml": network, "models/fp32.onnx": graph}
    sources = paths | dict.fromkeys(("golden/1.png", "golden/expected.npz"), network)
    same = bundles.engine("a", OpenVino(), ("a.xml",), graph)
    write_bundle(Parts(manifest=bundles.manifest(same), sources=sources), tmp_path / "out")
    read_bundle(tmp_path / "out")
    rewrite(tmp_path / "out", lambda d: d["engines"][0].update(precision="int8_openvino"))
    message = r"thresholds: expected those of int8_openvino, got those of models/fp32.onnx, which is fp32; "
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path / "out")
    rounded = dataclasses.replace(same, precision="int8_openvino")
    with pytest.raises(BundleError, match=message):
        write_bundle(Parts(manifest=bundles.manifest(rounded), sources=sources), tmp_path / "again")


def test_thresholds_of_another_engine_are_refused(copy: Path) -> None:
    rewrite(copy, lambda d: d["engines"][0].update(thresholds_sha256=d["files"]["tagger.pyz"]["sha256"]))
    message = (
        r"engine onnxruntime-fp32: thresholds: expected those of models/fp32.onnx, got those of a file with sha256"
    )
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


def test_thresholds_of_another_engine_are_not_written(built: Path, tmp_path: Path) -> None:
    parts = parts_of(built)
    entry = dataclasses.replace(
        parts.manifest.engines[0], thresholds_sha256=parts.manifest.files["card.md"].sha256[::-1]
    )
    with pytest.raises(BundleError, match="thresholds hold for one engine"):
        write_bundle(
            dataclasses.replace(parts, manifest=dataclasses.replace(parts.manifest, engines=(entry,))), tmp_path / "out"
        )


def test_nan_never_reaches_the_manifest() -> None:
    entry = bundles.engine("a", OnnxRuntime(), ("a",), tune_map=float("nan"))
    with pytest.raises(BundleError, match="engine a: tune_map: expected 0 to 1, got nan"):
        bundles.manifest(entry)
    with pytest.raises(ValueError, match="JSON"):
        bundles.manifest(bundles.engine("a", OnnxRuntime(), ("a",)), recipe_content={"a": float("nan")}).to_json()


def test_an_older_bundle_that_does_not_say_its_arithmetic_is_read(copy: Path) -> None:
    rewrite(copy, lambda data: [data["engines"][0].pop(name) for name in ("meant_for", "judged_in")])
    (engine, *_) = read_bundle(copy).engines
    assert (engine.meant_for, engine.judged_in) == ("", "")
    rewrite(copy, lambda data: data["engines"][0].update(judged_in=3))
    with pytest.raises(BundleError, match=r"engines\.0\.judged_in: expected str, got int"):
        read_bundle(copy)


def test_a_key_that_is_there_twice_is_refused(built: Path) -> None:
    """One reader would take the first, another the last."""
    text = (built / "manifest.json").read_text()
    assert text.count('"image_px": 16,') == 1
    with pytest.raises(BundleError, match=r"expected JSON, got the key 'image_px' twice in one object"):
        Manifest.from_json(text.replace('"image_px": 16,', '"image_px": 32, "image_px": 16,'))


@pytest.mark.parametrize("threads", [100_000, 0, "2", 1.5, True])
def test_threads_that_no_machine_has_are_refused(built: Path, threads: Any) -> None:
    entry = read_bundle(built).engines[0]
    entry = dataclasses.replace(entry, backend={**entry.backend, "threads": threads})
    with pytest.raises(
        BundleError, match=r"^engine onnxruntime-fp32: backend: onnxruntime.threads: expected 1 to 1024"
    ):
        backend_of(entry)


@pytest.mark.parametrize("content", [{}, {"export": 5}, {"export": {}}, {"export": {"thresholds": [1]}}])
def test_a_recipe_without_an_aim_has_none(built: Path, content: dict[str, Any]) -> None:
    assert dataclasses.replace(read_bundle(built), recipe_content=content).aim == {}


def test_the_aim_is_that_of_the_recipe(built: Path) -> None:
    content = {"export": {"thresholds": {"aim": "f1"}}}
    assert dataclasses.replace(read_bundle(built), recipe_content=content).aim == {"aim": "f1"}
