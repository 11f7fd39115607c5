"""`tagger.pyz tag`: from the words of a command line to lines, whatever the images and their names are."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from export.backends import OnnxRuntime
from export.bundle.bundle import parts_of, write_bundle
from export.tagger import Tagger, engine_choice
from export.tagger import tagger as tagger_module
from pipeline.tagger_cli import main
from tests.helpers import bundles

pytestmark = pytest.mark.usefixtures("cache")


def tagged(folder: Path, capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> tuple[str, str]:
    """What is printed on standard output and standard error."""
    assert main(["tag", "--bundle", str(folder), *map(str, words)]) == code
    return capsys.readouterr()


def test_files_folders_patterns_and_standard_input_in_the_order_of_the_words(
    folder: Path,
    images: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "deep").mkdir()
    shutil.copy(images["red"], tmp_path / "deep/img10.jpg")
    shutil.copy(images["green"], tmp_path / "deep/img2.jpg")
    (tmp_path / "deep/again").symlink_to(tmp_path)
    shutil.copy(images["green"], tmp_path / "last.x")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(images["blue"].read_bytes())))
    out, err = tagged(folder, capsys, "-", tmp_path, tmp_path / "*.x", images["red"])
    assert out.splitlines() == [
        "-: blue 1.00",
        f"{tmp_path}/deep/img2.jpg: green 1.00",
        f"{tmp_path}/deep/img10.jpg: red 1.00",
        f"{tmp_path}/last.x: green 1.00",
        f"{images['red']}: red 1.00",
    ]
    assert err == ""


def test_csv_has_a_row_an_image(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / 'a, "b"\nc.jpg'
    shutil.copy(images["yellow"], odd)
    out, _ = tagged(folder, capsys, "--csv", odd, tmp_path / "none.jpg", images["red"], code=1)
    yellow, none, red = csv.DictReader(io.StringIO(out, newline=""))
    assert yellow["image"] == str(odd)
    assert set(yellow["tags"].split(";")) == {"green", "red"}
    assert [float(score) for score in yellow["scores"].split(";")] == pytest.approx([0.9975, 0.9975], abs=1e-3)
    assert (none["tags"], none["scores"]) == ("", "")
    assert "expected a file" in none["error"]
    assert red["error"] == ""


def test_csv_and_json_are_one_or_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tag", "--bundle", str(folder), "--json", "--csv", "x.jpg"])
    assert raised.value.code == 2
    assert "not allowed with argument --json" in capsys.readouterr().err


def test_broken_images_are_named_and_the_others_go_on(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, cut, pipe = (tmp_path / name for name in ("text.jpg", "cut.jpg", "pipe.jpg"))
    text.write_text("not an image")
    cut.write_bytes(images["red"].read_bytes()[:300])
    os.mkfifo(pipe)  # opening it would wait for ever
    (tmp_path / "empty").mkdir()
    files = [text, images["red"], tmp_path / "missing.jpg", cut, tmp_path / "empty", images["blue"], pipe]
    out, err = tagged(folder, capsys, *files, code=1)
    assert out.splitlines() == [f"{images['red']}: red 1.00", f"{images['blue']}: blue 1.00"]
    for name in ("text.jpg", "missing.jpg", "cut.jpg", "empty", "pipe.jpg"):
        assert (
            sum(line.startswith(f"tagger: {tmp_path}/{name}: ") and "expected" in line for line in err.splitlines())
            == 1
        )
    assert err.splitlines()[-1] == "5 of 7 images failed"
    assert "Traceback" not in err


def test_json_has_one_object_per_image_in_their_order(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [images["red"], tmp_path / "text.jpg", images["blue"]]
    files[1].write_text("not an image")
    lines = [json.loads(line) for line in tagged(folder, capsys, "--json", *files, code=1)[0].splitlines()]
    assert [line["image"] for line in lines] == [str(file) for file in files]
    assert "expected" in lines[1]["error"]
    assert lines[2]["tags"] == [{"label": "blue", "score": pytest.approx(0.9975, abs=1e-3)}]


def test_options_reach_the_tagger(folder: Path, images: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engine", "openvino-fp32", "--threshold", "0", "--top-k", "2", "--verbose"]
    out, err = tagged(folder, capsys, images["red"], *options)
    assert out == f"{images['red']}: red 1.00, green 0.00\n"
    bundle, engine = err.splitlines()
    assert bundle == "bundle: unsigned"
    assert engine.startswith("engine openvino-fp32: requested; ")


def test_only_the_labels_that_are_wanted(
    folder: Path, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = tagged(folder, capsys, images["yellow"], "--labels", 'blue, "green"')
    assert out == f"{images['yellow']}: green 1.00\n"
    out, err = tagged(folder, capsys, images["yellow"], "--labels", "blue,gren", code=2)
    assert out == ""
    assert re.search("label: expected one of 3 known labels, got 'gren'; did you mean green", err)


@pytest.mark.parametrize("names", ["", " ", ","])
def test_no_label_at_all_is_a_slip(names: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tag", "--labels", names, "image.jpg"])
    assert raised.value.code == 2
    assert "--labels: expected at least one label, got none" in capsys.readouterr().err


@pytest.mark.parametrize("threshold", ["50", "-0.1", "nan"])
def test_a_threshold_that_is_no_score_is_refused_before_any_image_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str], threshold: str
) -> None:
    out, err = tagged(folder, capsys, "missing.jpg", f"--threshold={threshold}", code=2)
    assert (out, err) == ("", f"tagger: threshold: expected a score of 0 to 1, got {threshold}\n")


def test_a_label_with_a_comma_can_be_wanted(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = parts_of(folder)
    about = dataclasses.replace(parts.manifest, labels=("red, dark", "green", "blue"))
    write_bundle(dataclasses.replace(parts, manifest=about), tmp_path / "bundle")
    out, _ = tagged(tmp_path / "bundle", capsys, images["yellow"], "--labels", '"red, dark",blue')
    assert out == f"{images['yellow']}: red, dark 1.00\n"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_workers_change_nothing_in_what_is_printed(
    folder: Path, images: dict[str, Path], capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    files = [*images.values()] * 20
    out, _ = tagged(folder, capsys, "--engine", "onnxruntime-fp32", "--workers", workers, *files)
    names = [line.partition(": ")[0] for line in out.splitlines()]
    assert names == [str(file) for file in files]
    assert len(set(out.splitlines())) == len(images)


ENGINE = "onnxruntime-fp32"


@pytest.mark.parametrize(
    ("words", "cores", "workers"), [(["--workers", "3"], 2, 3), ([], 8, 8), ([], 1, 1), (["--engine", ENGINE], 8, 4)]
)
def test_one_worker_a_core_unless_told_otherwise(
    folder: Path,
    images: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    cores: int,
    workers: int,
) -> None:
    """An engine that computes with several threads has so many fewer; they are no more than there are cores."""
    for module in (engine_choice, tagger_module):
        monkeypatch.setattr(module, "usable_cores", lambda: cores)
    if ENGINE in words:
        two = dataclasses.asdict(OnnxRuntime(threads=2))
        folder = bundles.changed(folder, tmp_path / "two", {}, onnxruntime={"backend": two})
    loaded, load = [], Tagger.load

    def recording(*given: Any, **named: Any) -> Tagger:
        loaded.append(load(*given, **named))
        return loaded[-1]

    monkeypatch.setattr(Tagger, "load", recording)
    tagged(folder, capsys, images["red"], *words)
    assert [tagger.workers for tagger in loaded] == [workers]
    assert [tagger.choice.backend.threads for tagger in loaded if ENGINE in words] == [2] * (ENGINE in words)
    asked = dataclasses.replace(loaded[0].choice.entry, backend=dataclasses.asdict(OnnxRuntime(threads=64)))
    assert engine_choice.backend_of(asked) == OnnxRuntime(threads=cores)
    assert engine_choice.backend_of(asked, 16) == OnnxRuntime(threads=16)


def test_nothing_above_the_threshold_is_said(
    folder: Path, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = tagged(folder, capsys, images["red"], "--labels", "blue")
    assert out.endswith(": nothing above its threshold\n")


def test_borrowed_thresholds_are_said(
    folder: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    borrowed = {"thresholds_from": "b"}
    bundle = bundles.changed(folder, tmp_path / "bundle", {}, onnxruntime=borrowed)
    engine = ["--engine", "onnxruntime-fp32", images["red"]]
    _, err = tagged(bundle, capsys, *engine)
    assert err == "engine onnxruntime-fp32: thresholds were tuned on b\n"
    _, err = tagged(bundle, capsys, *engine, "--threshold", "0.5")
    assert err == ""


@pytest.mark.parametrize(
    ("precisions", "said", "marked"),
    [
        ((0.9, 0.8, None), "", ""),
        ((0.1, 0.2, None), "expected precision 15%: most tags are wrong; tags of 2 of 3 labels, marked ?, are", "?"),
        ((0.3, 0.4, 0.4), "expected precision 37%: most tags are wrong\n", ""),
        ((0.2, 0.9, 0.9), "tags of 1 of 3 labels, marked ?, are right in less than 25% of cases\n", "?"),
    ],
)
def test_tags_that_are_worth_little_say_so_once(
    folder: Path,
    images: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    precisions: tuple[float | None, ...],
    said: str,
    marked: str,
) -> None:
    hardly = bundles.changed(folder, tmp_path / "bundle", {}, onnxruntime={"expected_precision": precisions})
    words = ["--engine", "onnxruntime-fp32", images["red"], images["red"]]
    out, err = tagged(hardly, capsys, *words)
    assert out == f"{images['red']}: red 1.00{marked}\n" * 2
    assert err.startswith(f"engine onnxruntime-fp32: {said}" if said else "")
    assert bool(err) == bool(said)
    assert err.count("\n") <= 1
    out, _ = tagged(hardly, capsys, "--json", *words)
    assert [tag.get("doubtful") for tag in json.loads(out.splitlines()[0])["tags"]] == [True if marked else None]
    assert tagged(hardly, capsys, "--threshold", "0.5", *words) == (f"{images['red']}: red 1.00\n" * 2, "")
