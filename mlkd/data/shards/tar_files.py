"""Reads and writes shards in the WebDataset format: the members of one sample have one key and follow each other.

The key is a member's path up to the first dot of its file name.  A sample has an image and KEY.json with `labels`, a
list of label names, or null for an image that nobody labelled.  Optional in the JSON: `name`, unique in the data set;
`unknown`, a list of labels whose value is not known; `group`, of which all images stay in one split; `shared` and
`boxes` (label, x0, y0, x1, y1 as fractions of the sides, major or minor).  Other members are ignored.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mlkd.core.image_kinds import NAMED
from mlkd.core.json_text import parse_json
from mlkd.core.labels import Labels
from mlkd.core.printable import is_utf8
from mlkd.data.base import Box, Sample
from mlkd.data.shard_index.member import Member, read_range

_KEY = re.compile(r"(?P<key>(?:.*/)?[^/.]+)\.(?P<kind>[^/]+)")
_END_BYTES = 512  # zeros that mark the end of a tar file


def read_shard(shard: Path, labels: Labels) -> list[Sample]:
    """List the images of a shard in order, without reading them; `group` is the name where the JSON has none.

    Raises ValueError that names the shard and the member: for a damaged or empty tar file, and for a sample without
    image or labels or with an unknown label.
    """
    samples = [_sample(shard, key, dict(members), labels) for key, members in _by_key(_members(shard))]
    if not samples:
        raise ValueError(f"{shard}: expected images, got an empty shard; remove it or write it again")
    return samples


def write_shard(shard: Path, samples: Sequence[tuple[str, bytes, Mapping[str, Any]]]) -> None:
    """Write samples (image suffix, image, facts for the JSON) to a new tar file, which is complete or absent."""
    partial = shard.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (suffix, image, facts) in enumerate(samples):
            key = f"{shard.stem}-{number:06d}"
            _add(tar, f"{key}{suffix}", image)
            _add(tar, f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())
    partial.replace(shard)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


def _members(shard: Path) -> Iterator[Member]:
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                if entry.isfile():
                    yield Member(shard, entry.name, entry.offset_data, entry.size)
            end = tar.offset
    except (tarfile.TarError, OSError) as cause:
        raise ValueError(f"{shard}: expected an uncompressed tar file, got {cause}; copy or write it again") from None
    rest = read_range(shard, end, shard.stat().st_size - end)
    if len(rest) < _END_BYTES or rest.strip(b"\0"):  # tarfile takes a damaged header for the end
        raise ValueError(
            f"{shard}: expected a header or the end of the archive at byte {end}, got other bytes or a truncated file; "
            "copy or write it again"
        )


def _by_key(members: Iterator[Member]) -> Iterator[tuple[str, Iterator[tuple[str, Member]]]]:
    """Group (kind, member) of neighbours by key; the kind is the suffix in lower case."""
    matches = ((_KEY.fullmatch(member.name), member) for member in members)
    keyed = ((match["key"], match["kind"].lower(), member) for match, member in matches if match)
    for key, group in groupby(keyed, key=lambda item: item[0]):
        yield key, ((kind, member) for _, kind, member in group)


def _sample(shard: Path, key: str, members: Mapping[str, Member], labels: Labels) -> Sample:
    where = f"{shard}, {ascii(key)[1:-1]}"
    if not is_utf8(key):
        raise ValueError(f"{where}: expected a name in UTF-8, got another encoding; write the shard again")
    image = next((member for kind, member in members.items() if f".{kind}" in NAMED), None)
    if image is None or "json" not in members:
        raise ValueError(
            f"{where}: expected an image and {key}.json with its labels behind each other, got only "
            f"{', '.join(f'.{kind}' for kind in members)}; write the shard again"
        )
    facts = _facts(where, members["json"].read_bytes())
    names = {part: facts.get(part) for part in ("labels", "unknown")}
    try:
        positives, unknown = (tuple(sorted({labels.index(name) for name in some or ()})) for some in names.values())
        boxes = tuple(Box(labels.index(label), *rest) for label, *rest in facts.get("boxes", ()))
    except ValueError as cause:
        raise ValueError(f"{where}.json: {cause}; correct the JSON, or add the label to dataset.json") from None
    if both := sorted(set(positives) & set(unknown)):
        raise ValueError(f"{where}.json: expected each label once, got {labels.names[both[0]]!r} as known and unknown")
    name = facts.get("name", f"{shard.parent.name}/{shard.stem}/{key}")
    group, shared = facts.get("group", name), tuple(facts.get("shared", ()))
    return Sample(name, image, positives, group, boxes, unknown, names["labels"] is not None, shared)


def is_text(value: object) -> bool:
    """Whether it is text that a file in UTF-8 can hold."""
    return isinstance(value, str) and is_utf8(value)


def is_texts(value: object) -> bool:
    """Whether it is a list of such texts."""
    return isinstance(value, list) and all(map(is_text, value))


def _is_boxes(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_box, value))


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 6:
        return False
    label, *corners, role = value
    return is_text(label) and all(map(_is_number, corners)) and role in ("major", "minor")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9


FACTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "labels": ("label names or null", lambda value: value is None or is_texts(value)),
    "unknown": ("label names", lambda value: value is None or is_texts(value)),
    "name": ("text", is_text),
    "group": ("text", is_text),
    "shared": ("texts", is_texts),
    "boxes": ("boxes [label, x0, y0, x1, y1, major or minor]", _is_boxes),
}


def _facts(where: str, content: bytes) -> dict[str, Any]:
    try:
        facts = parse_json(content)
    except ValueError as cause:
        raise ValueError(f"{where}.json: expected JSON, got {cause}; write the shard again") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("labels", 0), list | None):
        raise ValueError(
            f"{where}.json: expected `labels`, a list of label names or null, got {content[:60]!r}; "
            "write the shard again"
        )
    for key, (expected, fits) in FACTS.items():
        if key in facts and not fits(facts[key]):
            got = ascii(facts[key])[:60]
            raise ValueError(f"{where}.json: {key}: expected {expected}, got {got}; write the shard again")
    return facts
