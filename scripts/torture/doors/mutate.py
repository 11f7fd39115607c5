"""Changes a content by chance: bytes, pieces, words that readers stumble over, and values of JSON documents."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

from scripts.torture.doors.values import VALUES, values_changed

LONGEST = 64 << 10
DEEP = 5_000
TOKEN = re.compile(rb"[^\s,:;|='\"<>{}\[\]()/-]+")
WORDS = (
    *(b"", b"\0", b"\n", b"\r", b"\r\n", b'"', b"'", b"\\", b"<", b">", b"&", b"%", b"=", b":", b",", b";", b"|", b"#"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", "\u202e".encode(), "😀".encode(), "é".encode()),
    *(b"../../outside", b"/etc/passwd", b"..\\outside", b"~", b"-rf", b"=cmd|x!A1", b"<script>", b"x" * 10_000),
    *(b"0", b"-1", b"1", b"255", b"65536", b"4294967295", b"9" * 25, b"9" * 5_000, b"1e999", b"-1e999", b"1_0"),
    *(b"NaN", b"nan", b"inf", b"Infinity", b"null", b"true", b"~", b"[]", b"{}", b'""', b"[" * DEEP, b'{"a":' * DEEP),
    *(b"&a [*a]", b"*a", b"? [a]\n: b", b"? {a: b}\n: c", b"<<: [1]", b"!!int ''", b"!!float ''", b"!!binary x"),
    *(b"!!timestamp 2020-99-99", b"2020-99-99", b"!!python/name:os.system", b"!!set {a}", b"!!omap [a]", b"!!null x"),
    *(b"!!bool x", b"1:99:99", b"0b2", b"- " * 3_000, b"---\n", b"...\n", b"%YAML 9.9\n", b"|\n", b"-"),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<a>" * DEEP, b"<![CDATA[", b"<?xml encoding='utf-7'?>"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n", b"ffffffff\r\n"),
    *(b"xmlns:a=''", b"%ff", b"extends: mine.yaml\n"),
    *(b"\n====\n", b"\r\n\r\n", b"--", b"sep=;\n", b"?cat", b"!cat", b"ustar", b"\xff\xd8", b"\xff\xda", b"IDAT"),
)  # fmt: skip


def mutated(content: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The content with one to four changes; `others` are contents that it may take pieces from."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        change = chance.choice((_value, _value, _bytes, _piece, _word, _token, _token, _line, _twice, _exchange))
        content = change(content, chance, others)[:LONGEST]
    return content


def _bytes(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(content or b"\0")
    for _at in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def _piece(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def _twice(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 1, 2, 50)) + content[end:]


def _word(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + chance.choice(WORDS) + content[end if chance.random() < 0.5 else start :]


def _token(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Replace what stands between two marks."""
    tokens = list(TOKEN.finditer(content))
    if not tokens:
        return content
    token = chance.choice(tokens)
    return content[: token.start()] + _new(chance) + content[token.end() :]


def _line(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Add a line, or replace one."""
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    new = _new(chance)
    if chance.random() < 0.5:
        new = re.match(rb"\s*", lines[at])[0] + b"a: " + new  # type: ignore[index]
    lines[at : at + chance.choice((0, 1))] = [new]
    return b"\n".join(lines)


def _value(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Change a value of a JSON document or of a line in JSON; a word elsewhere."""
    return values_changed(content, chance) or _word(content, chance, others)


def _new(chance: random.Random) -> bytes:
    if chance.random() < 0.7:
        return chance.choice(WORDS)
    return json.dumps(chance.choice(VALUES)).encode()


def _exchange(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others) if others else content
    start, end = _span(content, chance)
    first, last = _span(other, chance)
    return content[:start] + other[first:last] + content[end:]


def _span(content: bytes, chance: random.Random) -> tuple[int, int]:
    """Mostly a short one, often of whole words."""
    start = chance.randint(0, len(content))
    length = chance.choice((0, 1, 2, 4, 8, 32, len(content)))
    return start, min(len(content), start + chance.randint(0, length))
