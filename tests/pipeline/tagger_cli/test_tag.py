"""`tagger.pyz tag`: from the words of a command line to lines, whatever the images and their names are."""

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
from export.tagger import Tagger, engine_choice
from export.tagger import tagger as tagger_module
from pipeline.tagger_cli import main
from tests.helpers import bundles

pytestmark = pytest.mark.usefixtures("cache")
Images = dict[str, Path]
ENGINE = "onnxruntime-fp32"


def test_files_folders_patterns_and_standard_input_in_the_order_of_the_words(
    run: Any, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    shutil.copy(images["red"], tmp_path / "deep/img10.jpg")
    shutil.copy(images["green"], tmp_path / "deep/img2.jpg")
    (tmp_path / "deep/again").symlink_to(tmp_path)
    shutil.copy(images["green"], tmp_path / "last.x")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(images["blue"].read_bytes())))
    out, err = run("tag", "-", tmp_path, tmp_path / "*.x", images["red"])
    assert out.splitlines() == [
        "-: blue 1.00",
        f"{tmp_path}/deep/img2.jpg: green 1.00",
        f"{tmp_path}/deep/img10.jpg: red 1.00",
        f"{tmp_path}/last.x: green 1.00",
        f"{images['red']}: red 1.00",
    ]
    assert err == ""


def test_csv_has_a_row_an_image(run: Any, images: Images, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b"\nc.jpg'
    shutil.copy(images["yellow"], odd)
    out, _ = run("tag", "--csv", odd, tmp_path / "none.jpg", images["red"], code=1)
    yellow, none, red = csv.DictReader(io.StringIO(out, newline=""))
    assert yellow["image"] == str(odd)
    assert set(yellow["tags"].split(";")) == {"green", "red"}
    assert [float(score) for score in yellow["scores"].split(";")] == pytest.approx([0.9975, 0.9975], abs=1e-3)
    assert (none["tags"], none["scores"]) == ("", "")
    assert "expected a file" in none["error"]
    assert red["error"] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "--csv"], "not allowed with argument --json"),
        *((["--labels", names], "--labels: expected at least one label, got none") for names in ("", " ", ",")),
        (["--labels", "a\nb"], "--labels: expected labels as A,B, got new-line character seen in unquoted field"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tag", *words, "image.jpg"])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_broken_images_are_named_and_the_others_go_on(run: Any, images: Images, tmp_path: Path) -> None:
    text, cut, pipe = (tmp_path / name for name in ("text.jpg", "cut.jpg", "pipe.jpg"))
    text.write_text("not an image")
    cut.write_bytes(images["red"].read_bytes()[:300])
    os.mkfifo(pipe)  # opening it would wait for ever
    (tmp_path / "empty").mkdir()
    files = [text, images["red"], tmp_path / "missing.jpg", cut, tmp_path / "empty", images["blue"], pipe]
    out, err = run("tag", *files, code=1)
    assert out.splitlines() == [f"{images['red']}: red 1.00", f"{images['blue']}: blue 1.00"]
    for name in ("text.jpg", "missing.jpg", "cut.jpg", "empty", "pipe.jpg"):
        (line,) = (line for line in err.splitlines() if line.startswith(f"tagger: {tmp_path}/{name}: "))
        assert "expected" in line
    assert err.splitlines()[-1] == "5 of 7 images failed"
    assert "Traceback" not in err


def test_json_has_one_object_per_image_in_their_order(run: Any, images: Images, tmp_path: Path) -> None:
    files = [images["red"], tmp_path / "text.jpg", images["blue"]]
    files[1].write_text("not an image")
    lines = [json.loads(line) for line in run("tag", "--json", *files, code=1)[0].splitlines()]
    assert [line["image"] for line in lines] == [str(file) for file in files]
    assert "expected" in lines[1]["error"]
    assert lines[2]["tags"] == [{"label": "blue", "score": pytest.approx(0.9975, abs=1e-3)}]


def test_options_reach_the_tagger(run: Any, images: Images) -> None:
    options = ["--engine", "openvino-fp32", "--threshold", "0", "--top-k", "2", "--verbose"]
    out, err = run("tag", images["red"], *options)
    assert out == f"{images['red']}: red 1.00, green 0.00\n"
    bundle, engine = err.splitlines()
    assert bundle == "bundle: unsigned"
    assert engine.startswith("engine openvino-fp32: requested; ")


def test_only_the_labels_that_are_wanted(run: Any, images: Images, tmp_path: Path) -> None:
    yellow = images["yellow"]
    assert run("tag", yellow, "--labels", 'blue, "green"')[0] == f"{yellow}: green 1.00\n"
    assert run("tag", images["red"], "--labels", "blue")[0].endswith(": nothing above its threshold\n")
    err = run.refuse("tag", yellow, "--labels", "blue,gren")
    assert re.search("label: expected one of 3 known labels, got 'gren'; did you mean green", err)
    bundle = bundles.with_manifest(run.bundle, tmp_path / "bundle", labels=("red, dark", "green", "blue"))
    out, _ = run("tag", yellow, "--labels", '"red, dark",blue', bundle=bundle)
    assert out == f"{yellow}: red, dark 1.00\n"


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5"])
def test_a_number_of_labels_is_at_least_one(run: Any, images: Images, text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run("tag", images["red"], "--top-k", text)
    assert f"--top-k: expected a number of at least 1, got {text}\n" in capsys.readouterr().err


@pytest.mark.parametrize("threshold", ["50", "-0.1", "nan"])
def test_a_threshold_that_is_no_score_is_refused_before_any_image_is_read(run: Any, threshold: str) -> None:
    err = run.refuse("tag", "missing.jpg", f"--threshold={threshold}")
    assert err == f"tagger: threshold: expected a score of 0 to 1, got {threshold}\n"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_workers_change_nothing_in_what_is_printed(run: Any, images: Images, workers: str) -> None:
    files = [*images.values()] * 20
    out, _ = run("tag", "--engine", ENGINE, "--workers", workers, *files)
    names = [line.partition(": ")[0] for line in out.splitlines()]
    assert names == [str(file) for file in files]
    assert len(set(out.splitlines())) == len(images)


@pytest.mark.parametrize(
    ("words", "cores", "workers"), [(["--workers", "3"], 2, 3), ([], 8, 8), ([], 1, 1), (["--engine", ENGINE], 8, 4)]
)
def test_one_worker_a_core_unless_told_otherwise(
    run: Any,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    cores: int,
    workers: int,
) -> None:
    """An engine that computes with several threads has so many fewer; they are no more than there are cores."""
    for module in (engine_choice, tagger_module):
        monkeypatch.setattr(module, "usable_cores", lambda: cores)
    two = {"backend": dataclasses.asdict(OnnxRuntime(threads=2))}
    bundle = bundles.changed(run.bundle, tmp_path / "two", {}, onnxruntime=two) if ENGINE in words else None
    loaded, load = [], Tagger.load

    def recording(*given: Any, **named: Any) -> Tagger:
        loaded.append(load(*given, **named))
        return loaded[-1]

    monkeypatch.setattr(Tagger, "load", recording)
    run("tag", images["red"], *words, bundle=bundle)
    assert [tagger.workers for tagger in loaded] == [workers]
    assert [tagger.choice.backend.threads for tagger in loaded if ENGINE in words] == [2] * (ENGINE in words)
    asked = dataclasses.replace(loaded[0].choice.entry, backend=dataclasses.asdict(OnnxRuntime(threads=64)))
    assert engine_choice.backend_of(asked) == OnnxRuntime(threads=cores)
    assert engine_choice.backend_of(asked, 16) == OnnxRuntime(threads=16)


def test_borrowed_thresholds_are_said(run: Any, images: Images, tmp_path: Path) -> None:
    bundle = bundles.changed(run.bundle, tmp_path / "bundle", {}, onnxruntime={"thresholds_from": "b\x1b[2J"})
    words = ["tag", "--engine", ENGINE, images["red"]]
    assert run(*words, bundle=bundle)[1] == f"engine {ENGINE}: thresholds were tuned on b\\x1b[2J\n"
    assert run(*words, "--threshold", "0.5", bundle=bundle)[1] == ""


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
    run: Any, images: Images, tmp_path: Path, precisions: tuple[float | None, ...], said: str, marked: str
) -> None:
    hardly = bundles.changed(run.bundle, tmp_path / "bundle", {}, onnxruntime={"expected_precision": precisions})
    words = ["tag", "--engine", ENGINE, images["red"], images["red"]]
    out, err = run(*words, bundle=hardly)
    assert out == f"{images['red']}: red 1.00{marked}\n" * 2
    assert err.startswith(f"engine {ENGINE}: {said}" if said else "")
    assert bool(err) == bool(said)
    assert err.count("\n") <= 1
    out, _ = run(*words, "--json", bundle=hardly)
    assert [tag.get("doubtful") for tag in json.loads(out.splitlines()[0])["tags"]] == [True if marked else None]
    assert run(*words, "--threshold", "0.5", bundle=hardly) == (f"{images['red']}: red 1.00\n" * 2, "")
