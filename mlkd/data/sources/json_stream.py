"""Reads the lists in a JSON object item by item, because a file of a gigabyte would take many in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

BLOCK = 1 << 20  # characters read at once
LONGEST = 1 << 26  # characters of one item
SPACE = " \t\n\r"
BEHIND_NUMBER = re.compile(r"[^0-9.eE+-]")
_decoder = json.JSONDecoder()


def list_items(file: Path, keys: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    """Yield the key, position and value of each item of the lists that have one of these keys in the file's object.

    Before the items of a list comes [] without a position, as any other value does.  Nothing is yielded where the file
    has no object.  Raises ValueError for a file that is no JSON or has a key twice, and for an item of more than 64
    million characters; RecursionError for too many levels.
    """
    with file.open("rb") as stream:
        encoding = json.detect_encoding(stream.read(4))
    with file.open(encoding=encoding, errors="surrogatepass", newline="") as stream:
        text = _Text(stream)
        if text.next() != "{":
            text.value()
        else:
            text.take("{")
            yield from _object_items(text, keys)
        if text.next():
            raise ValueError(f"other text behind it at character {text.place}")


def _object_items(text: _Text, keys: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    seen = set[str]()
    while text.next() != "}":
        if seen:
            text.take(",")
        key = text.value()
        text.take(":")
        if key in seen:
            raise ValueError(f"the key {key!r} twice")
        seen.add(key)
        if key in keys and text.next() == "[":
            yield key, None, []
            for position, item in enumerate(_array_items(text)):
                yield key, position, item
        else:
            value = text.value()
            if key in keys:
                yield key, None, value
    text.take("}")


def _array_items(text: _Text) -> Iterator[Any]:
    text.take("[")
    if text.next() != "]":
        yield text.value()
    while text.next() != "]":
        text.take(",")
        yield text.value()
    text.take("]")


class _Text:
    """A part of the file's text, and the place in it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._part, self._at, self._before = "", 0, 0

    @property
    def place(self) -> int:
        """The number of characters before the place."""
        return self._before + self._at

    def next(self) -> str:
        """The next character behind white space; empty at the end."""
        while True:
            while self._at < len(self._part) and self._part[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._part):
                return self._part[self._at]
            if not self._read():
                return ""

    def take(self, character: str) -> None:
        """Go behind a character.  Raises ValueError for another one."""
        if self.next() != character:
            raise ValueError(f"{self.next() or 'the end'!r} instead of {character!r} at character {self.place}")
        self._at += 1

    def value(self) -> Any:
        """Read a value, with as much text as it needs."""
        self.next()
        while True:
            try:
                value, end = _decoder.raw_decode(self._part, self._at)
            except json.JSONDecodeError as cause:
                place = self._before + cause.pos
                if not self._read():
                    raise ValueError(f"{cause.msg} at character {place}") from None
                continue
            if not isinstance(value, int | float) or BEHIND_NUMBER.search(self._part, end):
                self._at = end
                return value
            length = end - self._at
            if not self._read():  # 12 may be the beginning of 123, or of 12.5
                self._at = length
                return value

    def _read(self) -> bool:
        """Read on, twice as much for every attempt at one value; False at the end of the file."""
        rest = self._part[self._at :]
        if len(rest) > LONGEST:
            raise ValueError(f"more than {LONGEST} characters without an end at character {self.place}")
        more = self._stream.read(max(BLOCK, len(rest)))
        self._before += self._at
        self._part, self._at = rest + more, 0
        return bool(more)
