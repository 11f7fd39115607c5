"""The folder that is published: whole or absent, equal bytes for equal input, and nothing of the user is lost."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from export.errors import BundleError
from export.web.folder import files_of, write_web
from mlkd.core.files import sha256_of
from tests.export.web.conftest import MODEL
from tests.helpers.kills import killed_before
from tests.helpers.manifests import rewrite

ROOT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, str]:
    return {path: sha256_of(file) for path, file in files_of(folder).items()}


@pytest.fixture
def copy(page: Path, tmp_path: Path) -> Path:
    return shutil.copytree(page, tmp_path / "copy")


def test_only_the_chosen_graph_and_what_the_page_needs_is_published(page: Path) -> None:
    description = json.loads((page / "tagger.json").read_text(encoding="utf-8"))
    jsonschema.validate(description, json.loads((ROOT / "docs/tagger.schema.json").read_text(encoding="utf-8")))
    assert [model["name"] for model in description["models"]] == [MODEL]
    assert all(set(one["scores"]) == {MODEL} for one in description["golden"])
    files = files_of(page)
    assert [path for path in files if path.endswith(".onnx")] == ["models/fp32.onnx"]
    assert not {"measure.js", "measure.html"} & files.keys()
    about = json.loads((page / "about.json").read_text(encoding="utf-8"))
    assert (about["model"], about["choice"], about["median_ms"]) == (MODEL, "named by --model", {})
    for name in ("onnxruntime.txt", "onnxruntime-third-party.txt"):
        assert "Copyright" in (page / "licences" / name).read_text(encoding="utf-8")
    app = json.loads((page / "app.webmanifest").read_text(encoding="utf-8"))
    assert (app["start_url"], app["scope"]) == ("./", "./")
    assert {icon["src"] for icon in app["icons"]} < files.keys()


def test_a_rerun_gives_equal_bytes(page: Path, copy: Path, bundle: Path) -> None:
    write_web(bundle, copy, MODEL)
    assert contents(copy) == contents(page)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_kill_leaves_the_older_or_the_newer_page(runtime: None, page: Path, bundle: Path, tmp_path: Path) -> None:
    """The page is replaced as a whole; a later run cleans up."""
    out = tmp_path / "web"
    shutil.copytree(page, out)
    steps = 0
    while killed_before(steps, lambda: write_web(bundle, out, MODEL)):
        present = [folder for folder in (out, tmp_path / ".web.old") if folder.is_dir()]
        assert any(contents(folder) == contents(page) for folder in present), steps
        steps += 17  # all would take a minute
    assert steps > 30
    assert contents(out) == contents(page)


@pytest.mark.parametrize("inside", ["CNAME", "about.json"])
def test_a_folder_of_someone_else_is_refused_untouched(
    runtime: None, bundle: Path, tmp_path: Path, inside: str
) -> None:
    out = tmp_path / "web"
    out.mkdir()
    (out / inside).write_text('{"format": "theirs"}')
    with pytest.raises(BundleError, match=r"expected a page of ours .*, got something else; move it away"):
        write_web(bundle, out, MODEL)
    assert [file.name for file in out.iterdir()] == [inside]


def test_a_users_file_in_the_page_is_not_deleted(copy: Path, bundle: Path) -> None:
    (copy / "CNAME").write_text("example.org")
    with pytest.raises(BundleError, match=r"expected only files of the page, got also CNAME; move them away"):
        write_web(bundle, copy, MODEL)
    assert (copy / "CNAME").read_text() == "example.org"


def test_a_damaged_bundle_is_refused(runtime: None, bundle: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    (damaged / "models/fp32.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"fp32.onnx: expected \d+ bytes, got 5"):
        write_web(damaged, tmp_path / "web", MODEL)
    assert not (tmp_path / "web").exists()


def test_paths_in_the_description_of_a_hostile_bundle_are_not_used(
    runtime: None, page: Path, bundle: Path, tmp_path: Path
) -> None:
    hostile = shutil.copytree(bundle, tmp_path / "bundle")
    text = (hostile / "tagger.json").read_text(encoding="utf-8").replace("models/fp32.onnx", "../models/fp32.onnx")
    (hostile / "tagger.json").write_text(text, encoding="utf-8")
    entry = {"sha256": sha256_of(hostile / "tagger.json"), "bytes": (hostile / "tagger.json").stat().st_size}
    rewrite(hostile, lambda manifest: manifest["files"].update({"tagger.json": entry}))
    write_web(hostile, tmp_path / "out" / "page", MODEL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page"]
    assert (tmp_path / "out/page/tagger.json").read_bytes() == (page / "tagger.json").read_bytes()
