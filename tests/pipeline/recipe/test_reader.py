from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pipeline.recipe.faults import ConfigError
from pipeline.recipe.reader import build
from pipeline.recipe.yaml_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class Round:
    kind: Literal["round"] = "round"
    radius: float

    def __post_init__(self) -> None:
        if self.radius < 0:
            raise ValueError(f"round.radius: expected at least 0, got {self.radius}")


@dataclass(frozen=True, kw_only=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Paint:
    colour: Literal["red", "green"] = "red"
    layers: int = 1

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"paint.layers: expected at least 1, got {self.layers}")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    title: str
    shape: Round | Square
    paint: Paint = field(default_factory=Paint)
    parts: tuple[Round | Square, ...] = ()
    sizes: tuple[int, ...] = ()
    dry: bool = False
    folder: Path | None = None
    frame: Square | None = None


def faults(text: str, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    return [str(fault) for fault in caught.value.faults]


def read(text: str, folder: Path) -> Drawing:
    file = folder / "drawing.yaml"
    file.write_text(text)
    return build(Drawing, read_yaml(file), file)


GOOD = "title: a\nshape: {kind: round, radius: 3e-4}\n"


def test_every_kind_of_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawing = read(
        GOOD + "parts: [{kind: square}, {kind: round, radius: 2}]\nsizes: [1, 2]\nfolder: images\nframe: null\n"
        "paint:\n  colour: green\n",
        tmp_path,
    )
    assert drawing == Drawing(
        title="a", shape=Round(radius=0.0003), parts=(Square(), Round(radius=2)), sizes=(1, 2),
        folder=tmp_path / "images", paint=Paint(colour="green"),
    )  # fmt: skip


@pytest.mark.parametrize("number", ["3e-4", "3E-4", "0.3e-3", "3.e-4", "+3e-4", "0.0003"])
def test_spellings_of_a_number(tmp_path: Path, number: str) -> None:
    shape = read(f"title: a\nshape: {{kind: round, radius: {number}}}", tmp_path).shape
    assert shape == Round(radius=0.0003)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "titel: b", "titel: expected one of title, shape, paint, parts, sizes, dry, folder, frame; "
         "got 'titel'; did you mean title?"),
        (GOOD + "paint: {layer: 2}", "paint.layer: expected one of colour, layers; got 'layer'; did you mean layers?"),
        (GOOD + "parts: [{kind: square, sied: 2}]", "parts.0.sied: expected one of kind, side; got 'sied'; "
         "did you mean side?"),
        (GOOD + "frame: {sied: 2}", "frame.sied: expected one of kind, side; got 'sied'; did you mean side?"),
        ("title: a\nshape: {kind: roud, radius: 1}", "shape.kind: expected one of round, square; got 'roud'; "
         "did you mean round?"),
        ("title: a\nshape: {radius: 1}", "shape.kind: expected one of round, square; got nothing; add the key"),
        ("title: a\nshape: {kind: round}", "shape.radius: expected a number, got nothing; add the key"),
        ("shape: {kind: square}", "title: expected text, got nothing; add the key"),
        (GOOD + "paint: {layers: 1.0}", "paint.layers: expected a whole number, got 1.0 (a number)"),
        (GOOD + "paint: {layers: '2'}", 'paint.layers: expected a whole number, got "2" (text)'),
        (GOOD + "paint: {layers: true}", "paint.layers: expected a whole number, got true (true or false)"),
        (GOOD + "paint: {colour: gren}", "paint.colour: expected one of red, green; got 'gren'; did you mean green?"),
        (GOOD + "paint: red", 'paint: expected keys with values, got "red" (text)'),
        (GOOD + "parts: {kind: square}", 'parts: expected a list, got {"kind": "square"} (keys with values)'),
        (GOOD + "sizes: [1, a]", 'sizes: expected a list, got [1, "a"] (a list)'),
        (GOOD + "dry: 1", "dry: expected true or false, got 1 (a whole number)"),
        (GOOD + "folder: 3", "folder: expected a path or nothing, got 3 (a whole number)"),
        (GOOD + "dry: 2026-01-01", 'dry: expected true or false, got "2026-01-01" (date)'),
        ("title: a\nshape: {kind: round, radius: -1}", "shape: round.radius: expected at least 0, got -1.0"),
        (GOOD + "paint: {layers: 0}", "paint.layers: expected at least 1, got 0"),
    ],
)  # fmt: skip
def test_one_fault(tmp_path: Path, text: str, message: str) -> None:
    assert faults(text, tmp_path) == [message]


def test_all_faults_at_once_and_the_file(tmp_path: Path) -> None:
    text = "titel: a\nshape: {kind: round, radius: far}\npaint: {layers: 0, colour: blue}\nparts: [{}]\n"
    assert [fault.split(":")[0] for fault in faults(text, tmp_path)] == [
        "titel", "shape.radius", "paint.colour", "parts.0.kind", "title",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"drawing.yaml: expected a valid recipe, got 5 faults:\n  titel: "):
        read(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "title: b\n", "line 3: title: expected each key once, got it in line 1 already"),
        ("title: a\nshape:\n  kind: round\n  radius: 1\n  radius: 2\n", "line 5: radius: expected each key once"),
        ("title: [a", "while parsing a flow sequence"),
    ],
)
def test_yaml_faults(tmp_path: Path, text: str, message: str) -> None:
    (fault,) = faults(text, tmp_path)
    assert message in fault


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("title: Gemälde".encode("latin-1"))
    with pytest.raises(ConfigError, match="expected UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")
