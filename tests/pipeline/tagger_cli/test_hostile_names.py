"""Hostile labels and file names in all that `tagger.pyz` prints, writes and answers."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mlkd.data.sources.cells import read_cells
from mlkd.data.sources.verdicts import read_verdicts
from tests.helpers import hostile, served, xmp
from tests.helpers.once import Once


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return once("hostile names", lambda work: hostile.write_colours(work / "bundle", work / "work")) / "bundle"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with hostile names."""
    folder = tmp_path_factory.mktemp("work")
    hostile.write_images(folder / "images", *hostile.FILES, hostile.NOT_UTF8)
    return folder


@pytest.fixture
def tag(bundle: Path, work: Path) -> Callable[..., tuple[bytes, bytes]]:
    """`tagger.pyz tag` in a process of its own, as a shell starts it; returns what it printed."""

    def tag(*words: object, code: int = 0) -> tuple[bytes, bytes]:
        command = [sys.executable, bundle / "tagger.pyz", "tag", "--engine", hostile.ENGINE, *words]
        ended = subprocess.run(list(map(str, command)), cwd=work, capture_output=True, check=False)
        assert ended.returncode == code, ended.stderr
        return ended.stdout, ended.stderr

    return tag


RED = list(hostile.NAMES.values())[::3]


def is_quiet(printed: bytes) -> bool:
    """Whether a terminal shows it as lines of text."""
    return all(line.isprintable() for line in printed.decode().split("\n"))


def test_the_terminal_gets_no_control_characters(tag: Callable[..., tuple[bytes, bytes]], work: Path) -> None:
    out, err = tag("images")
    assert is_quiet(out)
    assert is_quiet(err)
    assert len(out.splitlines()) == len(hostile.FILES) + 1
    (work / "broken").mkdir(exist_ok=True)
    for name in hostile.FILES:
        (work / "broken" / os.fsdecode(name)).write_text("no image")
    for words in (["broken"], [*(os.fsdecode(name) for name in hostile.FILES)], ["--bundle", "esc\x1b[2J", "images"]):
        out, err = tag(*words, code=2 if "--" in "".join(words) else 1)
        assert is_quiet(out + err)


def test_csv_is_read_back(tag: Callable[..., tuple[bytes, bytes]], work: Path) -> None:
    out, err = tag("--csv", "images", code=1)
    assert err.count(b"rename the file") == 1
    rows = list(csv.reader(io.StringIO(out.decode(), newline="")))
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t\r"))]
    (lost,) = [row for row in rows[1:] if row[3]]
    assert "udcff" in lost[0]
    assert lost[1]
    judged = [[*row[:5], "ok"] for row in rows[1:] if not row[3]]
    with (work / "judged.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([rows[0], *judged])
    verdicts = read_verdicts(work / "judged.csv", read_cells(work / "judged.csv"))
    assert {os.fsencode(row.file.removeprefix("images/")) for row in verdicts.rows} == set(hostile.FILES)
    assert {row.present for row in verdicts.rows} == {tuple(RED)}


def test_json_is_exact(tag: Callable[..., tuple[bytes, bytes]]) -> None:
    lines = [json.loads(line) for line in tag("--json", "images")[0].splitlines()]
    assert {os.fsencode(line["image"]) for line in lines} == {
        b"images/" + name for name in (*hostile.FILES, hostile.NOT_UTF8)
    }
    assert {tuple(tag["label"] for tag in line["tags"]) for line in lines} == {tuple(RED)}


def test_sidecars_are_exact(tag: Callable[..., tuple[bytes, bytes]], work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "images", tmp_path / "images")
    tag("--xmp", tmp_path / "images")
    for name in (*hostile.FILES, hostile.NOT_UTF8):
        content = (tmp_path / "images" / os.fsdecode(name + b".xmp")).read_bytes()
        assert xmp.tags(content) == RED


def test_http_answers_are_exact(bundle: Path, work: Path) -> None:
    content = (work / "images/+1.png").read_bytes()
    with served.serve(bundle, "--images", 40) as service:
        names = [name.decode().replace("\\", "\\\\").replace('"', '\\"') for name in hostile.FILES if b"\n" not in name]
        body, kind = served.form(*((name, content) for name in names))
        images = service.ask("POST", "/tag", body, Content_Type=kind).json["images"]
        assert [image["image"].encode() for image in images] == [name for name in hostile.FILES if b"\n" not in name]
        assert {tuple(tag["label"] for tag in image["tags"]) for image in images} == {tuple(RED)}
        for name in RED:
            quoted = '"' + name.replace('"', '""') + '"'
            answer = service.tag(content, f"?{urlencode({'labels': quoted})}")
            assert [tag["label"] for tag in answer.json["images"][0]["tags"]] == [name]
        assert list(service.ask("GET", "/labels").json["thresholds"]) == list(hostile.NAMES.values())
