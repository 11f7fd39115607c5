"""Streams of shards: every image once an epoch, in an order that any process, worker and start agrees on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.images import load
from mlkd.data.augment import Views
from mlkd.data.loader import Batch
from mlkd.data.prepared import read_split
from mlkd.data.shard_index import index as index_file
from mlkd.data.shard_index.member import Member, read_range
from mlkd.data.shards.loader import ShardLoader


def loader(streamed: Path, **changes: object) -> ShardLoader:
    settings = {
        "split": read_split(streamed, "train"), "sizes": (24, 32), "views": Views(count=2), "view_seed": 5, "seed": 1,
        "batch_size": 8, "workers": 0,
    }  # fmt: skip
    return ShardLoader(**{**settings, **changes})  # type: ignore[arg-type]


def rows_of(batches: list[Batch]) -> list[int]:
    return [int(row) for rows, _ in batches for row in rows]


def assert_equal(got: Batch, expected: Batch) -> None:
    np.testing.assert_array_equal(got[0], expected[0])
    for images, others in zip(got[1], expected[1], strict=True):
        assert torch.equal(images, others)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What is read of which shard: its name, offset and size."""
    calls: list[tuple[str, int, int]] = []

    def read(shard: Path, offset: int, size: int) -> bytes:
        calls.append((shard.name, offset, size))
        return read_range(shard, offset, size)

    monkeypatch.setattr(index_file, "read_range", read)
    return calls


def test_an_epoch_has_every_image_once_in_a_new_order(streamed: Path) -> None:
    epochs = [rows_of(list(loader(streamed, sizes=(24,)).batches(epoch))) for epoch in (0, 1)]
    assert [sorted(rows) for rows in epochs] == [list(range(24))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != rows_of(list(loader(streamed, sizes=(24,), seed=2).batches(0)))


def test_a_rest_smaller_than_a_batch_is_left_out(streamed: Path) -> None:
    batches = list(loader(streamed, sizes=(24,), batch_size=20).batches(0))
    assert len(batches) == 1
    assert len(set(rows_of(batches))) == 20


def test_processes_and_workers_share_the_batches_of_one(streamed: Path) -> None:
    alone = list(loader(streamed).batches(epoch=3))
    parts = [list(loader(streamed, rank=rank, ranks=2).batches(epoch=3)) for rank in range(2)]
    for whole, *halves in zip(alone, *parts, strict=True):
        rows = np.concatenate([half[0] for half in halves])
        assert_equal((rows, tuple(torch.cat(each) for each in zip(*(h[1] for h in halves), strict=True))), whole)
    for whole, other in zip(alone, loader(streamed, workers=3).batches(epoch=3), strict=True):
        assert_equal(other, whole)  # two workers, as the four streams cannot be shared by three


@pytest.mark.parametrize("first", [1, 2, 3])
def test_an_epoch_can_start_at_any_batch(streamed: Path, first: int) -> None:
    whole = list(loader(streamed).batches(epoch=1))
    rest = list(loader(streamed).batches(epoch=1, first=first))
    assert len(whole) == 3
    for got, expected in zip(rest, whole[first:], strict=True):
        assert_equal(got, expected)


def test_streams_read_shards_in_order_and_in_large_pieces(streamed: Path, reads: list[tuple[str, int, int]]) -> None:
    given = loader(streamed, sizes=(24,))
    list(given.batches(0))
    shards = [name for name, _, _ in reads]
    assert len(shards) == 4 * 3  # each stream has two shards and shuffles five of its six images, then the last
    assert max(Counter(shards).values()) == 2
    assert given.split.shards is not None
    assert sum(size for _, _, size in reads) <= sum(file.stat().st_size for file in given.split.shards.files)


def test_a_stream_begins_in_the_middle_of_a_shard(streamed: Path, reads: list[tuple[str, int, int]]) -> None:
    given = loader(streamed, sizes=(24,), batch_size=12)
    rest = rows_of(list(given.batches(0, first=1)))
    assert len(rest) == 12
    assert len(reads) == 4 * 3, "the second half of six images: the window of five is read again, and the last image"
    parts = [loader(streamed, sizes=(24,), batch_size=12, rank=rank, ranks=4) for rank in range(4)]
    streams = [rows_of(list(part.batches(0))) for part in parts]
    assert sorted(row for stream in streams for row in stream) == list(range(24))
    assert all(len({row // 3 for row in stream}) == 2 for stream in streams)  # the shards of three have rows 0-2, ...


def test_images_are_shuffled_within_the_memory_of_a_stream(streamed: Path) -> None:
    given = loader(streamed, sizes=(24,), batch_size=4, rank=0, ranks=4)
    rows = rows_of(list(given.batches(0)))
    assert len({row // 3 for row in rows[:5]}) == 2
    assert rows[:5] != sorted(rows[:5])
    assert {row // 3 for row in rows} == {row // 3 for row in rows[:5]}


def test_images_are_those_of_the_source_in_the_view_of_the_epoch(streamed: Path, prepared: Path) -> None:
    given, source = loader(streamed), read_split(prepared, "train")
    for rows, (small, large) in given.batches(epoch=3):
        for place, row in enumerate(rows.tolist()):
            original = list(source.names).index(given.split.names[row])
            np.testing.assert_array_equal(given.split.targets[row], source.targets[original])
            for px, images in ((24, small), (32, large)):
                pixels = load(source.files[original], px)
                assert torch.equal(images[place], given.views.apply(pixels, seed=5, row=row, view=1))


def test_what_cannot_be_shared_is_refused(streamed: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.streams: expected a multiple of the 3 processes, got 4"):
        loader(streamed, batch_size=12, ranks=3)
    with pytest.raises(ValueError, match="batch_size: expected a multiple of the 4 streams of the shards, got 6"):
        loader(streamed, batch_size=6)
    with pytest.raises(ValueError, match="batch_size: expected at most the 24 images of the shards, got 32"):
        loader(streamed, batch_size=32)


def test_shards_that_changed_since_the_data_stage_are_named(streamed: Path, shards: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "streamed", tmp_path / "root"
    shutil.copytree(streamed, folder)
    shutil.copytree(shards, root)
    file = folder / "train.shards.json"
    tree = json.loads(file.read_text())
    file.write_text(json.dumps({**tree, "files": [str(root / "train" / Path(name).name) for name in tree["files"]]}))
    split = read_split(folder, "train")
    assert split.shards is not None
    shard, offset, size = split.shards.places[4].tolist()
    damaged = split.shards.files[shard]
    content = bytearray(damaged.read_bytes())
    content[offset : offset + size] = bytes(size)
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{damaged.name}, byte {offset}: expected the image of the data stage"):
        list(loader(folder).batches(0))
    damaged.write_bytes(content[: offset + 5])
    with pytest.raises(OSError, match=rf"{damaged.name}: expected at least \d+ bytes as in the data stage"):
        list(loader(folder).batches(0))
    member = Member(damaged, "4.png", offset, size)
    with pytest.raises(OSError, match="restore the shard"):
        member.read_bytes()
