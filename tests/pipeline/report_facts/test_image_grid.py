import base64
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.report_facts.image_grid import MOST_MISTAKES, SHOWN, SIDE_PX, SMALL_PX, choose, grid, mistakes
from tests.helpers.rows import measured


def test_images_that_engines_disagree_on_come_first() -> None:
    first = np.zeros((100, 3), dtype=bool)
    second = first.copy()
    second[[7, 50, 93], 1] = True
    rows = choose([first, first, second], 100, seed=0)
    assert set(rows[:3]) == {7, 50, 93}
    assert len(rows) == len(set(rows)) == SHOWN


def test_at_most_half_are_disagreements() -> None:
    first = np.zeros((100, 3), dtype=bool)
    second = first.copy()
    second[:50] = True
    rows = choose([first, second], 100, seed=0)
    assert sum(row < 50 for row in rows[: SHOWN // 2]) == SHOWN // 2
    assert len(set(rows)) == SHOWN
    assert choose([first, second], 100, seed=1) != rows


@pytest.mark.parametrize("decisions", [[], [np.zeros((4, 2), dtype=bool)]])
def test_few_images_and_engines(decisions: list[np.ndarray]) -> None:
    assert sorted(choose(decisions, 4, seed=0)) == [0, 1, 2, 3]


def test_mistakes_are_the_surest_ones_of_both_kinds() -> None:
    scores = np.array([[0.1], [0.4], [0.9], [0.8], [0.7], [0.6], [0.55], [0.2], [0.3]], dtype=np.float32)
    targets = np.array([[1], [1], [0], [0], [0], [0], [1], [0], [1]], dtype=np.uint8)
    found = mistakes(scores, np.array([0.5], dtype=np.float32), targets, None)
    assert [(row, kind) for row, kind, _ in found[0]] == [
        *((0, "missed"), (8, "missed"), (1, "missed")),
        *((2, "wrong"), (3, "wrong"), (4, "wrong")),
    ]
    assert found[0][0][2] == pytest.approx(0.1)
    label_mask = np.ones_like(targets, dtype=bool)
    label_mask[[0, 2]] = False
    found = mistakes(scores, np.array([0.5], dtype=np.float32), targets, label_mask)
    assert not {0, 2} & {row for row, *_ in found[0]}


def test_one_kind_fills_the_place_of_the_other_and_a_right_label_is_left_out() -> None:
    scores = np.tile(np.linspace(0.6, 0.9, 10, dtype=np.float32)[:, None], (1, 2))
    targets = np.zeros((10, 2), dtype=np.uint8)
    targets[:, 1] = 1
    found = mistakes(scores, np.full(2, 0.5, dtype=np.float32), targets, None)
    assert list(found) == [0]
    assert [row for row, *_ in found[0]] == [9, 8, 7, 6, 5, 4]


def test_many_labels_show_fewer_mistakes_each() -> None:
    wrong = np.ones((10, 180), dtype=np.float32)
    found = mistakes(wrong, np.full(180, 0.5, dtype=np.float32), np.zeros((10, 180), dtype=np.uint8), None)
    assert {len(rows) for rows in found.values()} == {2}


def test_very_many_labels_show_those_with_the_most_mistakes() -> None:
    decided = np.zeros((10, 1000), dtype=np.float32)
    decided[0, :900] = decided[1, 500:800] = decided[2, 700:710] = 1
    found = mistakes(decided, np.full(1000, 0.5, dtype=np.float32), np.zeros((10, 1000), dtype=np.uint8), None)
    assert sum(len(rows) for rows in found.values()) == len(found) == MOST_MISTAKES
    assert sorted(found) == [*range(60), *range(500, 800)]


def test_facts_name_images_once_and_the_engine_to_ship(tmp_path: Path) -> None:
    files = []
    for row in range(30):
        files.append(tmp_path / f"{row}.png")
        Image.new("RGB", (300, 200), (8 * row, 100, 50)).save(files[-1])
    random = np.random.default_rng(0)
    targets = (random.random((30, 2)) < 0.5).astype(np.uint8)
    test = SimpleNamespace(
        names=[f"n{row}" for row in range(30)],
        files=files,
        boxes=[()] * 30,
        targets=targets,
        label_mask=None,
        labels=SimpleNamespace(names=["cat", "dog"]),
    )
    test = type("Test", (SimpleNamespace,), {"__len__": lambda self: 30})(**vars(test))
    engines = [SimpleNamespace(name=name, thresholds=(0.5, 0.4)) for name in ("slow", "fast", "not-here")]
    for name in ("slow", "fast"):
        np.save(tmp_path / f"{name}.npy", random.random((30, 2)).astype(np.float32))
    rows = [
        measured(name, p90, device=device)
        for name, device, p90 in (("slow", "here", 2.0), ("fast", "here", 1.0), ("slow", "there", 0.1))
    ]
    page = grid(test, SimpleNamespace(engines=engines), rows, tmp_path, seed=0)
    assert page.mistakes.engine == "fast"
    used = {entry.image for entry in page.grid}
    wrong = {mistake.image for found in page.mistakes.labels.values() for mistake in found}
    assert set(page.images) == used | wrong
    sides = {}
    for key, image in page.images.items():
        with Image.open(io.BytesIO(base64.b64decode(image.jpeg_base64))) as opened:
            sides[key] = max(opened.size)
    assert {sides[key] for key in used} == {SIDE_PX}
    assert {sides[key] for key in wrong - used} <= {SMALL_PX}
    scores = np.load(tmp_path / "fast.npy")
    for label, found in page.mistakes.labels.items():
        column = ["cat", "dog"].index(label)
        for mistake in found:
            score, true = scores[int(mistake.image), column], targets[int(mistake.image), column]
            assert mistake.score == pytest.approx(float(score))
            assert (score >= mistake.threshold) == (mistake.kind == "wrong") == (not true)
