"""The memory that annotation files take, by their size."""

from pathlib import Path

import pytest

from scripts.torture import annotations
from scripts.torture.annotations import COCO, CSV, GIB, LINES, WRITERS

SLOPES = {
    COCO: (GIB - (200 << 20)) / annotations.SIZES[COCO],
    CSV: 12.5,
    LINES: 12.5,
}  # bytes of memory for a byte of the file
SMALL, LARGER = 2_000_000, 8_000_000


@pytest.mark.slow
@pytest.mark.parametrize("what", WRITERS)
def test_memory_grows_less_than_the_limit_allows(what: str, tmp_path: Path) -> None:
    file = tmp_path / {COCO: "labels.json", CSV: "tags.csv", LINES: "tags.jsonl"}[what]
    peaks = []
    for size in (SMALL, LARGER):
        with file.open("w", encoding="utf-8") as stream:
            WRITERS[what](stream, size)
        peak, error = annotations.read_in_process(what, file)
        assert not error
        peaks.append(peak)
    assert (peaks[1] - peaks[0]) / (LARGER - SMALL) < SLOPES[what]


def test_an_error_of_the_reader_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "tags.csv"
    with file.open("w") as stream:
        stream.truncate(10**12)
    peak, error = annotations.read_in_process(CSV, file)
    assert "of free memory to read" in error
    assert 0 < peak < GIB  # of its own, not of this process
