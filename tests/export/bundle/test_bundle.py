import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from export.backends import OpenVino
from export.bundle import bundle
from export.bundle.bundle import Manifest, Parts, parts_of, read_bundle, write_bundle
from export.errors import BundleError
from tests.helpers import bundles
from tests.helpers.bundles import write_plain
from tests.helpers.manifests import rewrite


def test_what_was_written_is_read_back(built: Path) -> None:
    manifest = read_bundle(built)
    assert manifest.labels == bundles.LABELS
    assert manifest.engines[0].thresholds == (0.5, 0.5, 0.5)
    assert set(manifest.files) == {
        "models/fp32.onnx", "card.md", "golden/1.png", "golden/expected.npz", "tagger.pyz",
    }  # fmt: skip
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_sha256sum_understands_the_digest_file(built: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    assert os.system(f"cd '{built}' && sha256sum --quiet -c manifest.sha256") == 0


def test_a_flipped_byte_in_any_file_is_refused(copy: Path) -> None:
    files = [file for file in copy.rglob("*") if file.is_file()]
    assert len(files) == 7
    for file in files:
        content = file.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1}:
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(BundleError, match=r"expected .*, got "):
                read_bundle(copy)
        file.write_bytes(content)
    read_bundle(copy)


@pytest.mark.parametrize("name", ["models/fp32.onnx", "tagger.pyz", "manifest.json", "manifest.sha256"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: expected a file of the bundle, got none; .*again"):
        read_bundle(copy)


def test_size_is_compared_before_the_hash(copy: Path) -> None:
    (copy / "card.md").write_bytes(b"short")
    with pytest.raises(BundleError, match=r"card.md: expected 11 bytes, got 5"):
        read_bundle(copy)


@pytest.mark.parametrize("where", ["notes.txt", "models/other.onnx", ".hidden"])
def test_an_extra_file_is_refused(copy: Path, where: str) -> None:
    (copy / where).write_text("mine")
    with pytest.raises(BundleError, match=rf"{where}: expected only files of the manifest.*move it away"):
        read_bundle(copy, verify=False)


def test_links_and_pipes_are_refused(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(copy / "models/fp32.onnx", outside)
    (copy / "models/fp32.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"fp32.onnx: expected a plain file .* got a link"):
        read_bundle(copy)
    (copy / "models/fp32.onnx").unlink()
    os.mkfifo(copy / "models/fp32.onnx")
    with pytest.raises(BundleError, match=r"fp32.onnx: expected a plain file .* got a special file"):
        read_bundle(copy)


def test_a_linked_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "models", tmp_path / "elsewhere")
    (copy / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"models: expected a plain file or folder in the bundle, got a link"):
        read_bundle(copy)


def test_an_engine_file_outside_the_hashes_is_refused(copy: Path) -> None:
    rewrite(copy, lambda d: d["files"].pop("models/fp32.onnx"))
    (copy / "models/fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"expected models/fp32.onnx in the manifest, got no such file"):
        read_bundle(copy)


@pytest.mark.parametrize("sources", [[], ["a.xml"]], ids=["nothing", "not the graph that it was compiled from"])
def test_an_engine_without_a_source_is_not_written(tmp_path: Path, sources: list[str]) -> None:
    entry = bundles.engine("a", OpenVino(), ("a.xml",), graph="models/fp32.onnx")
    (tmp_path / "a.xml").write_text("<net/>")
    parts = Parts(manifest=bundles.manifest(entry), sources={name: tmp_path / name for name in sources})
    missing = "models/fp32.onnx" if sources else "a.xml"
    with pytest.raises(BundleError, match=rf"expected a source for its file {missing}, got none"):
        write_bundle(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_written_again_keeps_the_program_that_was_measured(built: Path, tmp_path: Path) -> None:
    program = tmp_path / "tagger.pyz"
    program.write_bytes(b"the program that was measured")
    parts = parts_of(built)
    card = tmp_path / "card"
    card.write_text("a longer card")
    sources = {**parts.sources, "tagger.pyz": program, "card.md": card}
    about = dataclasses.replace(parts.manifest, measured=True)
    write_bundle(Parts(manifest=about, sources=sources), tmp_path / "again")
    manifest = read_bundle(tmp_path / "again")
    assert manifest.measured
    assert (tmp_path / "again/tagger.pyz").read_bytes() == b"the program that was measured"
    assert manifest.files["models/fp32.onnx"] == read_bundle(built).files["models/fp32.onnx"]
    assert (tmp_path / "again/card.md").read_text() == "a longer card"


def test_a_killed_write_leaves_no_half_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(bundle, "build_pyz", lambda out: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_plain(tmp_path / "out", tmp_path / "m")
    assert not (tmp_path / "out").exists()
    write_plain(tmp_path / "out", tmp_path / "m")
    assert read_bundle(write_plain(tmp_path / "out", tmp_path / "m", recipe="newer")).recipe == "newer"


def test_writing_over_someone_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="move it away"):
        write_plain(tmp_path / "out", tmp_path / "m")
    assert (tmp_path / "out" / "thesis.txt").exists()
