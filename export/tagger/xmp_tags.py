"""Adds tags to XMP by inserting text: other fields and earlier tags keep their bytes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence

from export.tagger.xmp_document import RDF, Document, Edit, Element, XmpError, parse, without_padding
from export.tagger.xmp_fields import (
    BY_HAND,
    FIELDS,
    HIERARCHICAL,
    SUBJECT,
    TAGS_LIST,
    Field,
    container,
    descriptions,
    items,
    others,
    properties,
    resources,
)

TagPath = tuple[str, ...]  # the levels above a label, and the label
Lists = Mapping[Field, Sequence[str]]

PROTECTED = "-"  # replaces a separator inside a level
EMPTY = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
"""
_BREAK = re.compile(r"\s*[\t\n\r\u2028\u2029]\s*")
_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add_tags(content: bytes | None, paths: Sequence[TagPath], embedded: bytes | None = None) -> bytes | None:
    """Add tags to XMP, or write new XMP for `content` None, which begins with the tags of `embedded` XMP.

    All levels of all paths go to `dc:subject`.  The paths go to `lr:hierarchicalSubject` and `digiKam:TagsList` if one
    has several levels, and to each of the two that has tags already: applications that read it ignore `dc:subject`.

    Returns:
        The new content; None if it, or `embedded` without content, has all tags already.

    Raises:
        XmpError: The content or `embedded` is not XMP, or has tags in a form that cannot be extended.
    """
    cleaned = [tuple(filter(None, map(_clean, path))) for path in paths]
    wanted = list(dict.fromkeys(path for path in cleaned if path))
    if not wanted:
        return None
    before = parse(EMPTY if content is None else content)
    existing = {field: items(before, field) for field in FIELDS}
    inherited = _tags_of(embedded) if content is None and embedded is not None else {field: [] for field in FIELDS}
    lacking = _added({field: [*existing[field], *inherited[field]] for field in FIELDS}, wanted)
    if not any(lacking.values()):
        return None
    added = {field: [*inherited[field], *lacking[field]] for field in FIELDS}
    new = before.edited(_edits(before, existing, added))
    after = parse(new)
    for field in FIELDS:
        if items(after, field) != [*existing[field], *added[field]]:
            raise XmpError(f"{field}: expected a list that can be extended, got another form; {BY_HAND}")
    if others(before) != others(after):
        raise XmpError(f"expected XMP in which only tags change, got other changes; {BY_HAND}")
    return new


def _tags_of(embedded: bytes) -> dict[Field, list[str]]:
    """The lists of tags in the XMP of an image, which may be padded, or hold nothing."""
    try:
        document = parse(without_padding(embedded))
        if all(element.name != (RDF, "RDF") for element in document.root.descendants()):
            return {field: [] for field in FIELDS}
        return {field: list(filter(None, map(_clean, items(document, field)))) for field in FIELDS}
    except XmpError as cause:
        raise XmpError(f"XMP in the image: {cause}") from None


def _clean(level: str) -> str:
    """The text in one line, without the characters that XML forbids or discourages."""
    return _BREAK.sub(" ", _NOT_XML.sub("", level)).strip()


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _added(existing: Lists, wanted: Sequence[TagPath]) -> dict[Field, list[str]]:
    """What each list lacks; a tag that differs only in upper and lower case is present."""
    return {
        SUBJECT: _lacking(existing[SUBJECT], [level for path in wanted for level in path]),
        HIERARCHICAL: _lacking_paths(HIERARCHICAL, existing, wanted, TAGS_LIST),
        TAGS_LIST: _lacking_paths(TAGS_LIST, existing, wanted, HIERARCHICAL),
    }


def _lacking(present: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The items of `wanted` that `present` lacks, each in its first spelling."""
    by_key = {_key(item): item for item in reversed(wanted)}
    keys = {_key(item) for item in present}
    return [by_key[key] for key in dict.fromkeys(map(_key, wanted)) if key not in keys]


def _lacking_paths(field: Field, existing: Lists, wanted: Sequence[TagPath], other: Field) -> list[str]:
    """What a list of paths lacks.

    A new list begins with the tags that applications have read so far, because they will read the new list instead.
    """
    present = existing[field]
    if not present:
        if all(len(path) == 1 for path in wanted):
            return []
        levels = {_key(level) for path in wanted if len(path) > 1 for level in path}
        words = [(word,) for word in existing[SUBJECT] if _key(word) not in levels]
        wanted = [*([_split(other, item) for item in existing[other]] or words), *wanted]
    lowest = {_key(_split(field, item)[-1]) for item in present}
    return _lacking(present, [_join(field, path) for path in wanted if len(path) > 1 or _key(path[0]) not in lowest])


def _split(field: Field, item: str) -> TagPath:
    return tuple(level.strip() for level in item.split(field.separator))


def _join(field: Field, path: TagPath) -> str:
    return field.separator.join(level.replace(field.separator, PROTECTED) for level in path)


def _edits(document: Document, existing: Lists, added: Lists) -> list[Edit]:
    edits: list[Edit] = []
    missing: dict[Field, Sequence[str]] = {}
    for field, new in added.items():
        elements = properties(document, field)
        if new and elements:
            edits += _extended(document, elements[-1], field, new)
        elif new:
            edits += _removed(document, field)
            missing[field] = [*existing[field], *new]
    return [*edits, *([_new(document, missing)] if missing else [])]


def _extended(document: Document, element: Element, field: Field, new: Sequence[str]) -> list[Edit]:
    """Add items to a property that exists: to its list, around its plain text, or into an empty one."""
    rdf = element.prefixes(RDF)[0]
    listed = container(element, field)
    if listed is not None and listed.children:
        last = listed.children[-1]
        position, lead = document.after(last), document.lead(last)
        return [Edit(position, position, _listing(rdf, new, lead))]
    lead = document.lead(element)
    if listed is not None:
        return [document.fill(listed, _listing(rdf, new, _deeper(lead, 2)) + _deeper(lead))]
    if not element.text:
        return [document.fill(element, _list(rdf, field, new, lead) + lead)]
    position = document.start_tag(element).end()
    return [
        Edit(position, position, f"<{rdf}{field.container}><{rdf}li>"),
        Edit(element.end, element.end, f"</{rdf}li>{_listing(rdf, new)}</{rdf}{field.container}>"),
    ]


def _removed(document: Document, field: Field) -> list[Edit]:
    """Remove a field that is an attribute; its text becomes the first item of the list."""
    owners = [owner for owner in descriptions(document) if field.name in owner.attributes]
    return [document.without(owner, field.name) for owner in owners]


def _new(document: Document, missing: Lists) -> Edit:
    """Add fields at the end of the first rdf:Description, or in a new one."""
    owner = next(iter(descriptions(document)), None)
    parent = owner or resources(document)
    last = parent.children[-1] if parent.children else None
    lead = document.lead(last) if last else _deeper(document.lead(parent))
    text = "".join(_property(parent, *field, lead if owner else _deeper(lead)) for field in missing.items())
    if owner is None:
        rdf = parent.prefixes(RDF)[0]
        about = f'{rdf}about=""' if rdf else f'xmlns:rdf="{RDF}" rdf:about=""'
        text = f"{lead}<{rdf}Description {about}>{text}{lead}</{rdf}Description>"
    if last:
        return Edit(document.after(last), document.after(last), text)
    return document.fill(parent, text + document.lead(parent))


def _property(parent: Element, field: Field, new: Sequence[str], lead: str) -> str:
    prefix = next(iter(parent.prefixes(field.namespace)), None)
    declared = f' xmlns:{field.prefix}="{field.namespace}"' if prefix is None else ""
    name = (f"{field.prefix}:" if prefix is None else prefix) + field.local
    return f"{lead}<{name}{declared}>{_list(parent.prefixes(RDF)[0], field, new, lead)}{lead}</{name}>"


def _list(rdf: str, field: Field, new: Sequence[str], lead: str) -> str:
    name = rdf + field.container
    return f"{_deeper(lead)}<{name}>{_listing(rdf, new, _deeper(lead, 2))}{_deeper(lead)}</{name}>"


def _listing(rdf: str, new: Sequence[str], lead: str = "") -> str:
    return "".join(f"{lead}<{rdf}li>{html.escape(item, quote=False)}</{rdf}li>" for item in new)


def _deeper(lead: str, levels: int = 1) -> str:
    """The indentation of a level below; none where elements do not start their lines."""
    return lead and lead + " " * levels
