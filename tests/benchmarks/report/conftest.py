"""A made-up bench with the shape of a real one, in example.json: an example for tests, no measurement."""

import base64
import copy
import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from benchmarks.parsing import to_json
from benchmarks.report import render, slides
from benchmarks.report.devices import read_devices
from benchmarks.report.rows import read_rows
from benchmarks.report.scatter import Scatter, scatter
from benchmarks.schema import read_report
from tests.helpers import reports
from tests.helpers.chromium import Chromium

BOARD = "board"


@functools.cache
def _example() -> str:
    facts = json.loads(Path(__file__).with_name("example.json").read_text(encoding="utf-8"))
    facts["images"] = {entry["image"]: _image(i, entry["true"]) for i, entry in enumerate(facts["grid"])}
    return json.dumps(to_json(read_report(facts)))


def _image(i: int, labels: list[str]) -> dict[str, Any]:
    """An image with an object of each of two labels."""
    image = Image.new("RGB", (96, 96), (40 + 11 * i, 120 + 5 * i, 200 - 9 * i))
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 20, 70, 80), fill=(220 - 9 * i, 200, 60 + 9 * i))
    draw.rectangle((62, 8, 90, 34), fill=(250, 250 - 12 * i, 240))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return {
        "jpeg_base64": base64.b64encode(data.getvalue()).decode(),
        "name": f"test/{i:05d}.png",
        "boxes": [[labels[0], 0.12, 0.2, 0.73, 0.83, "major"], [labels[1], 0.64, 0.08, 0.94, 0.36, "minor"]],
    }


def example_bench() -> dict[str, Any]:
    return dict(json.loads(_example()))


def add_board(bench: dict[str, Any]) -> None:
    """A second device that is slower and names some rows like the first, and a third that failed."""
    machine = {**bench["devices"][0]["machine"], "cpu": "Example ARM", "virtual": False}
    board = {"name": BOARD, "status": "measured", "reason": None, "machine": machine, "threads": 4, "power_mode": "15W"}
    lost = {"name": "lost", "status": "failed", "reason": "ssh: lost: no route", "machine": None, "threads": None}
    bench["devices"] += [board, {**lost, "power_mode": None}]
    for row in copy.deepcopy(bench["rows"][:5]):
        for key in ("end_to_end_ms", "engine_ms"):
            row[key] = {name: value and 6.5 * value for name, value in row[key].items()}
        row["histogram"]["edges_ms"] = [6.5 * edge for edge in row["histogram"]["edges_ms"]]
        bench["rows"].append({**row, "device": BOARD, "map_from": {"device": BOARD, "instruction_set": "neon"}})


SCREENED: list[tuple[str, float, float | None, int | None]] = [
    ("tf_efficientnet_lite0-64px-s4-attention", 3.7, 0.521, 4),
    ("tf_efficientnet_lite0-64px-s3-pooled", 1.9, 0.441, 4),
    ("tf_efficientnet_lite0-80px-s4-pooled", 3.1, 0.497, 4),
    ("repvgg_a0-64px-s4-attention", 3.9, 0.472, 2),
    ("mobilenetv4_conv_small-64px-s4-pooled", 2.4, 0.433, 2),
    ("tf_efficientnet_lite1-64px-s4-pooled", 3.4, 0.409, 1),
    ("resnet10t-48px-s4-pooled", 2.2, 0.385, 1),
    ("mobilenetv4_conv_small-48px-s3-pooled", 1.6, 0.11, 1),
    ("tf_efficientnet_lite0-128px-s4-attention", 6.8, None, None),
    ("tf_efficientnet_lite1-96px-s4-attention", 5.2, None, None),
    ("repvgg_a0-128px-s4-attention", 240.0, None, None),
    ("resnet10t-64px-s4-pooled", 2.6, None, None),
]  # candidate, p90 in ms, mAP on select, epochs
STUDENTS = {
    "student": ("best", SCREENED[0][0]),
    "fastest": ("fastest", SCREENED[1][0]),
    "knee": ("knee", SCREENED[2][0]),
}


def add_search(bench: dict[str, Any]) -> None:
    """A search: two more students with three engines each, and a screen of twelve candidates on the first device."""
    device = bench["devices"][0]["name"]
    for model, speed, loss in (("fastest", 0.5, 0.04), ("knee", 0.8, 0.013)):
        for row in copy.deepcopy([bench["rows"][i] for i in (0, 1, 4)]):
            for key in ("end_to_end_ms", "engine_ms"):
                row[key] = {name: value and speed * value for name, value in row[key].items()}
            row |= {name: row[name] - loss for name in ("map", "map_low", "map_high")}
            row |= {"vs_student_low": row["map"] - 0.5562 - 0.01, "vs_student_high": row["map"] - 0.5562 + 0.01}
            bench["rows"].append({**row, "name": f"{model}-{row['name']}", "model": model, "bytes": row["bytes"] // 2})
    bench["search"] = {
        "max_p90_ms": 5.0,
        "max_mb": None,
        "students": [
            {"model": model, "candidate": candidate, "roles": [role], "image_px": 64, "parameters": 1_234_567,
             "multiply_adds": 50_000_000, "student_map": 0.5562 - 0.02 * at, "baseline_map": 0.5371 - 0.02 * at,
             "difference": 0.0191, "low": 0.0102, "high": 0.0283}
            for at, (model, (role, candidate)) in enumerate(STUDENTS.items())
        ],
        "screen": [
            {"candidate": candidate, "device": device, "engine": "onnxruntime-int8", "p90_ms": p90, "megabytes": 2.1,
             "kept": p90 <= 5, "select_map": value, "epochs": epochs,
             "reason": None if value or p90 > 5 else "resnet10t-48px-s4-pooled is as fast and has more parameters"}
            for candidate, p90, value, epochs in SCREENED
        ],
    }  # fmt: skip


Draw = Callable[..., Scatter]


@pytest.fixture
def draw() -> Draw:
    """Draws the chart of a bench with its search; `chosen` are names of engines to deploy."""

    def draw(bench: dict[str, Any], width: int = 1040, height: int = 500, chosen: tuple[str, ...] = ()) -> Scatter:
        report = read_report(bench)
        rows = read_rows(report.rows)
        deployed = [row for row in rows if row.name in chosen]
        drawing = scatter(rows, read_devices(report.devices), deployed, width, height, report.search)
        assert drawing is not None
        return drawing

    return draw


@pytest.fixture(autouse=True)
def without_png(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the PNG, which takes most of the time of a report, except in the tests of the slides."""
    if not request.path.name.startswith("test_slides"):
        monkeypatch.setattr(slides, "rasterize", lambda svg: b"")


@pytest.fixture
def bench() -> dict[str, Any]:
    return example_bench()


@pytest.fixture
def finals(bench: dict[str, Any]) -> dict[str, Any]:
    """The same bench with the finals of a search."""
    add_search(bench)
    return bench


@pytest.fixture
def fleet(bench: dict[str, Any]) -> dict[str, Any]:
    """The same bench with three devices."""
    add_board(bench)
    return bench


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> reports.Written:
    """The files of the example; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "rasterize", lambda svg: b"")
        return reports.write(example_bench(), tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the example with three devices; read only."""
    bench = example_bench()
    add_board(bench)
    out = tmp_path_factory.mktemp("rendered")
    render(read_report(bench), out)
    return out


@pytest.fixture(scope="session")
def browser(chromium_installed: None) -> Iterator[Chromium]:
    with Chromium() as chromium:
        yield chromium
