"""Parses XMP and records where each element is, so that an edit leaves every other byte as it is."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

MOST_BYTES = 16 << 20
MOST_ELEMENTS = 50_000
MOST_ATTRIBUTES = 100_000  # declarations of namespaces are among them
MOST_LEVELS = 100
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_BETWEEN = "\x01"  # separates namespace, name and prefix; no XML document may contain it
_BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_ATTRIBUTE = re.compile(rb"\s+([^\s=]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_VALUE = re.compile(rb"=\s*[\"']")  # an attribute has one
_START_TAG = re.compile(rb"<([^\s/>]+)(?:[^\"'>]+|\"[^\"]*\"|'[^']*')*>")

Name = tuple[str, str]  # namespace, local name


class XmpError(ValueError):
    """XMP cannot be read or changed; the message says why."""


@dataclass(eq=False)
class Element:
    """An XML element; positions count bytes of `Document.text`."""

    name: Name
    attributes: dict[Name, str]
    written: dict[Name, str]  # names of the attributes with their prefixes
    start: int  # of the start tag
    parent: Element | None
    declared: dict[str, str]  # namespace by prefix, "" for the default namespace
    end: int = 0  # of the content; behind the tag for an empty-element tag
    texts: list[str] = field(default_factory=list)  # directly in it
    children: list[Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text directly in the element, without white space around it."""
        return "".join(self.texts).strip()

    def descendants(self) -> Iterator[Element]:
        """The element and all below it, in document order."""
        yield self
        for child in self.children:
            yield from child.descendants()

    def prefixes(self, namespace: str) -> list[str]:
        """The prefixes with this meaning inside the element, with their colons; "" for the default namespace."""
        meaning: dict[str, str] = {}
        element: Element | None = self
        while element is not None:
            for prefix, declared in element.declared.items():
                meaning.setdefault(prefix, declared)
            element = element.parent
        return [f"{prefix}:" if prefix else "" for prefix, found in meaning.items() if found == namespace]


class Edit(NamedTuple):
    """Replaces the bytes from `start` to `end` of `Document.text` by new text."""

    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Document:
    """Well-formed XML in UTF-8, UTF-16 or UTF-32, with or without a byte order mark."""

    content: bytes  # as in the file
    mark: int  # length of the byte order mark
    encoding: str
    text: bytes  # the same in UTF-8, without the mark
    root: Element

    def start_tag(self, element: Element) -> re.Match[bytes]:
        """The start tag; group 1 is the name with its prefix."""
        match = _START_TAG.match(self.text, element.start)
        assert match is not None, "expat has accepted the tag"
        return match

    def without(self, element: Element, name: Name) -> Edit:
        """The edit that removes an attribute."""
        tag, written = self.start_tag(element), element.written[name].encode()
        found = _ATTRIBUTE.finditer(self.text, tag.end(1), tag.end())
        match = next(match for match in found if match[1] == written)
        return Edit(match.start(), match.end(), "")

    def is_empty_tag(self, element: Element) -> bool:
        """Whether the element is an empty-element tag, <a/>."""
        return self.start_tag(element)[0].endswith(b"/>")

    def after(self, element: Element) -> int:
        """The position behind the element."""
        return element.end if self.is_empty_tag(element) else self.text.index(b">", element.end) + 1

    def fill(self, element: Element, new: str) -> Edit:
        """The edit that adds `new` at the end of an element; an empty-element tag becomes two tags."""
        if not self.is_empty_tag(element):
            return Edit(element.end, element.end, new)
        tag = self.start_tag(element)
        return Edit(tag.end() - 2, tag.end(), f">{new}</{tag[1].decode()}>")

    def lead(self, element: Element) -> str:
        """The line break and indentation in front of an element; empty if it does not start its line."""
        before = self.text[max(0, element.start - 200) : element.start]
        space = before[len(before.rstrip()) :].decode()
        start = max(space.rfind("\n"), space.rfind("\r"))
        return ("\r\n" if b"\r\n" in self.text else space[start]) + space[start + 1 :] if start >= 0 else ""

    def edited(self, edits: list[Edit]) -> bytes:
        """The content of the file with the edits; all other bytes are the same, because UTF has one form for a text."""
        parts, position = [], 0
        for edit in sorted(edits, key=lambda edit: edit[:2]):
            parts += [self.text[position : edit.start], edit.new.encode()]
            position = edit.end
        text = b"".join([*parts, self.text[position:]])
        return self.content[: self.mark] + text.decode().encode(self.encoding)


def parse(content: bytes) -> Document:
    """Parse the content of an XMP file.  Raises XmpError, also for a document type: it could define entities."""
    if len(content) > MOST_BYTES:
        raise XmpError(f"expected at most {MOST_BYTES >> 20} MiB, got more")
    if not content.strip():  # another program may be writing it
        raise XmpError("expected XMP, got an empty file; remove it")
    mark, encoding = _encoding(content)
    try:
        text = content[mark:].decode(encoding).encode()
    except UnicodeError:
        raise XmpError(f"expected XMP in {encoding.upper()}, got bytes that are not; repair or remove it") from None
    if next(itertools.islice(_VALUE.finditer(text), MOST_ATTRIBUTES, None), None):  # expat takes seconds for a million
        raise XmpError(f"expected at most {MOST_ATTRIBUTES} attributes, got more")
    return Document(content, mark, encoding, text, _Builder(encoding).build(text))


def without_padding(content: bytes) -> bytes:
    """The content without NUL characters at its end; one may be a part of the last character of UTF-16 or UTF-32."""
    width = {"utf-1": 2, "utf-3": 4}.get(_encoding(content)[1][:5], 1)
    length = len(content.rstrip(b"\0"))
    return content[: -(-length // width) * width]


def _encoding(content: bytes) -> tuple[int, str]:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return len(mark), encoding
    return 0, next((encoding for start, encoding in _STARTS if content.startswith(start)), "utf-8")


class _Builder:
    """Builds the tree of elements from the events of expat."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.root: Element | None = None
        self.open: list[Element] = []
        self.count = 0
        self.declared: dict[str, str] = {}
        self.parser = expat.ParserCreate("utf-8", _BETWEEN)
        self.parser.namespace_prefixes = True
        self.parser.buffer_text = True
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._document_type
        self.parser.StartNamespaceDeclHandler = self._namespace
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def build(self, text: bytes) -> Element:
        try:
            self.parser.Parse(text, True)
        except expat.ExpatError as cause:
            raise XmpError(f"expected well-formed XML, got: {cause}; repair or remove it") from None
        assert self.root is not None, "expat accepts no document without an element"
        return self.root

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and not encoding.lower().startswith(self.encoding[:6]):
            raise XmpError(f"expected UTF-8, UTF-16 or UTF-32 as declared, got {encoding!r} in {self.encoding.upper()}")

    def _document_type(self, *_: object) -> None:
        raise XmpError("expected XMP without a document type, got <!DOCTYPE; remove it")

    def _namespace(self, prefix: str | None, namespace: str | None) -> None:
        self.declared[prefix or ""] = namespace or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MOST_ELEMENTS or len(self.open) >= MOST_LEVELS:
            raise XmpError(f"expected at most {MOST_ELEMENTS} elements in {MOST_LEVELS} levels, got more")
        element = Element(
            name=_split(name),
            attributes={_split(key): value for key, value in attributes.items()},
            written={_split(key): ":".join(key.split(_BETWEEN)[:0:-1]) for key in attributes},
            start=self.parser.CurrentByteIndex,
            parent=self.open[-1] if self.open else None,
            declared=self.declared,
        )
        self.declared = {}
        if element.parent is not None:
            element.parent.children.append(element)
        self.root = self.root or element
        self.open.append(element)

    def _end(self, _: str) -> None:
        self.open.pop().end = self.parser.CurrentByteIndex

    def _text(self, text: str) -> None:
        self.open[-1].texts.append(text)


def _split(name: str) -> Name:
    parts = name.split(_BETWEEN)
    return (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
