import dataclasses
import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.backends import Session
from export.tagger import Tagger, parallel, tag_many
from export.tagger import tagger as tagger_module
from export.tagger.session_pool import SessionPool
from mlkd.core.images import UnreadableImageError, load
from tests.helpers import bundles

ENGINES = ("onnxruntime-fp32", "openvino-fp32")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """57 of them, each with scores of its own."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(57)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8) // rng.integers(1, 4, 3, np.uint8)).save(file)
    return files


@pytest.fixture(params=[1, 3])
def tagger(colours: Path, request: pytest.FixtureRequest) -> Iterator[Tagger]:
    with Tagger.load(colours, ENGINES[0], workers=request.param) as opened:
        yield opened


class Recorded(Session):
    """A session that remembers how many images it got at once, and takes at most `most`."""

    def __init__(self, inner: Session, most: int | None) -> None:
        super().__init__(inner.engine, inner.runtime_info, inner.image, most)
        self.inner, self.batches = inner, list[int]()

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return self.inner(images)

    def _release(self) -> None:
        self.inner.close()


def recorded(tagger: Tagger, most: int | None = None) -> tuple[Tagger, Recorded]:
    session = Recorded(tagger.sessions.first, most)
    return dataclasses.replace(tagger, sessions=SessionPool(session, lambda: session, 1)), session


def test_every_image_comes_back_in_order_with_the_tags_of_one(tagger: Tagger, images: list[Path]) -> None:
    given = [file.read_bytes() if number % 2 else file for number, file in enumerate(images)]
    found = list(tag_many(tagger, given, threshold=0.0, batch=5))
    assert [image for image, _ in found] == given
    for image, tags in found:
        alone = tagger.tag(image, threshold=0.0)
        assert isinstance(tags, list)
        assert [tag.label for tag in tags] == [tag.label for tag in alone]
        np.testing.assert_allclose([t.score for t in tags], [t.score for t in alone], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ENGINES)
def test_scores_are_those_of_the_engines_own_session(colours: Path, images: list[Path], name: str) -> None:
    with Tagger.load(colours, name, workers=2) as tagger:
        backend, file = tagger.choice.backend, colours / tagger.choice.entry.file
        with backend.open(file) as session:
            expected = session(np.stack([load(image, bundles.PX) for image in images]))
        for row, (_, tags) in zip(expected, tag_many(tagger, images, threshold=0.0), strict=True):
            found = dict(tags)  # type: ignore[arg-type]
            np.testing.assert_allclose([found[label] for label in bundles.LABELS], row, rtol=0, atol=1e-6)


def test_order_holds_when_later_images_are_ready_first(
    tagger: Tagger, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    delays, decode = random.Random(0), tagger_module.images.decode

    def slow(*arguments: Any) -> Image.Image:
        time.sleep(delays.random() / 200)
        return decode(*arguments)

    monkeypatch.setattr(tagger_module.images, "decode", slow)
    assert [image for image, _ in tag_many(tagger, images, batch=2)] == images


def test_an_image_that_cannot_be_read_does_not_disturb_its_batch(tagger: Tagger, images: list[Path]) -> None:
    given = [b"no image" if number % 3 == 0 else file.read_bytes() for number, file in enumerate(images[:20])]
    found = list(tag_many(tagger, given, threshold=0.0, batch=4))
    for number, (content, result) in enumerate(found):
        assert content is given[number]
        if number % 3 == 0:
            assert isinstance(result, UnreadableImageError)
            assert "8 bytes: expected " in str(result)
        else:
            assert result == tagger.tag(content, threshold=0.0)


def test_images_that_all_fail_reach_no_engine(tagger: Tagger, tmp_path: Path) -> None:
    found = list(tag_many(tagger, [tmp_path / "none.jpg", b""]))
    assert all(isinstance(result, UnreadableImageError) for _, result in found)
    assert list(tag_many(tagger, [])) == []


def test_batches_grow_and_respect_the_engine(tagger: Tagger, images: list[Path]) -> None:
    free, session = recorded(tagger)
    assert len(list(tag_many(free, images, batch=8))) == 57
    assert sum(session.batches) == 57
    assert {1, 4, 8} <= set(session.batches)
    assert max(session.batches) == 8
    small, session = recorded(tagger, most=3)
    assert len(list(tag_many(small, images, batch=8))) == 57
    assert sum(session.batches) == 57
    assert max(session.batches) == 3


def test_only_a_few_images_are_read_ahead(colours: Path, images: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for image in itertools.cycle(images):
            taken += 1
            yield image

    with Tagger.load(colours, ENGINES[0], workers=2) as tagger:
        with closing(tag_many(tagger, endless(), batch=4)) as found:
            for given, _ in enumerate(found, 1):
                assert taken - given <= 4 * (2 * 2 + 1)
                if given == 300:
                    break
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("tagger")]


def test_tags_do_not_wait_for_images_that_come_later(
    tagger: Tagger, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0

    class Waiting(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **wanted: Any) -> Future[Any]:
            future = super().submit(*arguments, **wanted)
            wait([future])
            return future

    def all_before_was_given() -> Iterator[Path]:
        for number, image in enumerate(images):
            assert number == given
            yield image

    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Waiting)
    for _, tags in tag_many(tagger, all_before_was_given(), threshold=0.0, batch=1):
        assert tags
        given += 1
    assert given == len(images)


def test_workers_decode_at_once(colours: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    together, decode = threading.Barrier(2, timeout=10), tagger_module.images.decode

    def both(*arguments: Any) -> Image.Image:
        together.wait()
        return decode(*arguments)

    monkeypatch.setattr(tagger_module.images, "decode", both)
    with Tagger.load(colours, ENGINES[0], workers=2) as tagger:
        assert len(list(tag_many(tagger, images[:2]))) == 2


def test_an_engine_that_fails_ends_it(tagger: Tagger, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the GPU is gone")

    monkeypatch.setattr(type(tagger.sessions.first), "_run", fails)
    with pytest.raises(RuntimeError, match="the GPU is gone"):
        list(tag_many(tagger, images))


def test_thresholds_labels_and_top_k_are_those_of_one(tagger: Tagger, images: list[Path]) -> None:
    wanted: dict[str, Any] = {"threshold": 0.01, "top_k": 1, "labels": ["red", "blue"]}
    found = list(tag_many(tagger, images, **wanted))
    assert [tags for _, tags in found] == [tagger.tag(image, **wanted) for image in images]
    assert {tag.label for _, tags in found for tag in tags} == {"red", "blue"}  # type: ignore[union-attr]


def test_what_is_wrong_is_refused_before_an_image_is_read(tagger: Tagger) -> None:
    def never() -> Iterator[Path]:
        pytest.fail("an image was read")
        yield Path()

    with pytest.raises(ValueError, match="got 'pink'"):
        tag_many(tagger, never(), labels=["pink"])
    with pytest.raises(ValueError, match="batch: expected at least 1, got 0"):
        tag_many(tagger, never(), batch=0)
