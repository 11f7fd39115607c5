"""Large annotation files are read within a GiB of memory: COCO of a gigabyte, tables of 79 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from scripts.torture.attempt import Attempt

GIB = 1 << 30
COCO, CSV, LINES = "COCO JSON of 1 GB", "CSV table of 79 MB", "JSON lines of 79 MB"
SIZES = {COCO: 10**9, CSV: 79 * 10**6, LINES: 79 * 10**6}
WANTED = {COCO: 1, CSV: 1, LINES: 1}
READERS = {
    COCO: "from mlkd.data.sources.coco_file import read_coco_file as read",
    CSV: "from mlkd.data.sources.tables import read_table as read",
    LINES: "from mlkd.data.sources.tables import read_table as read",
}
# the kernel's other figure, of getrusage, begins with the peak of the process that started this one
PRINT_PEAK = (
    "import atexit, pathlib, re, sys; status = pathlib.Path('/proc/self/status'); "
    "atexit.register(lambda: print(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1]))"
)
CATEGORIES = [{"id": number, "name": f"label {number}", "supercategory": "thing"} for number in range(1, 81)]
POLYGON = json.dumps([[round(7.31 * number % 600, 2) for number in range(80)]])


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:  # noqa: ARG001
    """Write a file, read it in a process of its own, and remove it."""
    for _ in range(count):
        file = work / {COCO: "labels.json", CSV: "tags.csv", LINES: "tags.jsonl"}[what]
        with file.open("w", encoding="utf-8") as stream:
            WRITERS[what](stream, SIZES[what])
        peak, error = read_in_process(what, file)
        file.unlink()
        measured = f"{peak >> 20} MiB"
        yield Attempt(what, "read", [f"{measured} {error}"] if error or peak > GIB else [], measured)


def read_in_process(what: str, file: Path) -> tuple[int, str]:
    """The peak of resident memory in bytes, and the last line of the error if the file is refused."""
    code = f"{PRINT_PEAK}; {READERS[what]}; read(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    return int(ended.stdout) << 10, ended.stderr.strip().rpartition("\n")[2] if ended.returncode else ""


def write_coco(stream: TextIO, size: int) -> None:
    """A file like that of COCO 2014: 13 objects an image, each with a polygon."""
    images = size // 10_000
    shared = {"license": 3, "height": 480, "width": 640, "coco_url": "http://images.example/train/0.jpg"}
    named = ({"id": number, "file_name": f"{number:012d}.jpg", **shared} for number in range(images))
    stream.write('{"images": [')
    stream.write(",".join(map(json.dumps, named)))
    stream.write('], "annotations": [')
    for number in _numbers(stream, size):
        about = {"id": number, "image_id": number // 13 % images, "category_id": 1 + number % 80, "iscrowd": 0}
        box = [1.25 * (number % 200), 3.5, 38.65, 28.67]
        text = json.dumps({**about, "bbox": box, "area": 702.1, "segmentation": "POLYGON"})
        stream.write(("," if number else "") + text.replace('"POLYGON"', POLYGON))
    stream.write(f'], "categories": {json.dumps(CATEGORIES)}}}')


def write_csv(stream: TextIO, size: int) -> None:
    """Three tags an image."""
    stream.write("file,tags\n")
    for number in _numbers(stream, size):
        stream.write(f"images/{number:08d}.jpg,{';'.join(_tags(number))}\n")


def write_lines(stream: TextIO, size: int) -> None:
    """The same as JSON lines."""
    for number in _numbers(stream, size):
        stream.write(json.dumps({"file": f"images/{number:08d}.jpg", "tags": _tags(number)}) + "\n")


def _numbers(stream: TextIO, size: int) -> Iterator[int]:
    number = 0
    while stream.tell() < size:
        for _ in range(100):
            yield number
            number += 1


def _tags(number: int) -> list[str]:
    return [CATEGORIES[(number * step) % 80]["name"] for step in (1, 7, 11)]  # type: ignore[misc]


WRITERS: dict[str, Callable[[TextIO, int], None]] = {COCO: write_coco, CSV: write_csv, LINES: write_lines}
