"""Finds the files that hold weights of an ONNX graph: ONNX Runtime 1.19 reads any file of the machine as weights."""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from pathlib import Path

VARINT, BYTES, FIXED = 0, 2, {1: 8, 5: 4}  # wire types, and the sizes of those that are fixed
# The fields of onnx.proto that lead from a model to the data of its tensors: message -> field -> message.
FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
KEY, VALUE = TEXTS = 1, 2  # fields of an entry
LOCATION = b"location"


def check_data(model: Path) -> None:
    """Raise ValueError for a damaged graph, and for one with weights in files that are not in its own folder."""
    folder = model.parent.resolve()
    for location in locations(model):
        file = (folder / location).resolve()
        if not file.is_relative_to(folder) or not file.is_file() or "*" in location:  # */_ORT_MEM_ADDR_/* is no file
            raise ValueError(f"weights in {location!r}, which is no file beside it")


def locations(model: Path) -> list[str]:
    """The files that hold data of tensors, as the graph names them.  Raises ValueError for a damaged graph."""
    if not model.stat().st_size:
        return []
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found: list[str] = []
        waiting = [("model", 0, len(content))]
        while waiting:
            message, start, end = waiting.pop()
            if message == "entry":
                texts = {number: content[first:last] for number, first, last in _fields(content, start, end, TEXTS)}
                if texts.get(KEY) == LOCATION:
                    found.append(texts.get(VALUE, b"").decode("utf-8", "surrogateescape"))
                continue
            inside = FIELDS[message]
            fields = _fields(content, start, end, inside)
            waiting += [(inside[number], first, last) for number, first, last in fields]
        return found


def _fields(content: mmap.mmap, at: int, end: int, wanted: Container[int]) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the wanted fields of bytes between two positions; all others are skipped."""
    while at < end:
        tag, at = _varint(content, at, end)
        kind, number = tag & 7, (tag & 0xFFFFFFFF) >> 3  # protobuf drops higher bits
        if kind == BYTES:
            size, start = _varint(content, at, end)
            at = start + size
            if number in wanted and at <= end:
                yield number, start, at
        elif kind == VARINT:
            _, at = _varint(content, at, end)
        else:
            at += FIXED.get(kind, end)
        if at > end:
            raise ValueError("a damaged graph")


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """The number that begins at a position, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("a damaged graph")
