"""Any XMP of a generated kind: tags are added, every other field keeps its bytes, a second run changes nothing."""

import codecs
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from export.tagger.xmp_tags import TagPath, add_tags
from tests.helpers import xmp

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff<&>\"'"), max_size=12)
LABELS = st.text("abAB ä&<>\"'|/", min_size=1, max_size=5).filter(str.strip)
PATHS = st.lists(st.lists(LABELS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4)
MARKS = {"utf-32-be": codecs.BOM_UTF32_BE, "utf-16-le": codecs.BOM_UTF16_LE, "utf-8": codecs.BOM_UTF8}
FIELDS = (
    "<xmp:a>{}</xmp:a>",
    "<xmp:b  xml:lang = 'de' >{}&#x41;&amp;&quot;</xmp:b>",
    "<xmp:c><rdf:Alt><rdf:li xml:lang='x-default'>{}</rdf:li></rdf:Alt></xmp:c>",
    "<xmp:d rdf:parseType='Resource'><xmp:e>{}</xmp:e><xmp:f/></xmp:d>",
    "<xmp:g><![CDATA[{}<dc:subject>&]]></xmp:g>",
    "<!-- {} <dc:subject> --><xmp:h/>",
    "<?note {} <rdf:Bag>?><xmp:i></xmp:i>",
    "<xmp:j><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag></xmp:j>",
)
FORMS = (
    "<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>",
    "<dc:subject>{eol}  <rdf:Seq>{eol}   {items}{eol}  </rdf:Seq>{eol}</dc:subject>",
    "<k:subject xmlns:k='{dc}'><rdf:Bag>{items}</rdf:Bag></k:subject>",
    "<dc:subject>{text}</dc:subject>",
    "<dc:subject><rdf:Bag></rdf:Bag></dc:subject>",
    "",
)


@st.composite
def documents(draw: Any) -> tuple[bytes, list[bytes]]:
    """XMP, and pieces of it that have to stay."""
    encoding, eol = draw(st.sampled_from(sorted(MARKS))), draw(st.sampled_from(["\n", "\r\n", ""]))
    fields = [
        draw(st.sampled_from(FIELDS)).format(draw(TEXTS).replace("-", "").replace("]", "").replace("?", ""))
        for _ in range(draw(st.integers(1, 5)))
    ]
    words = draw(st.lists(st.text("abc &", min_size=1, max_size=4).filter(str.strip), max_size=3))
    items = [f"<rdf:li>{word.replace('&', '&amp;')}</rdf:li>" for word in words]
    form = draw(st.sampled_from(FORMS))
    subject = form.format(items=eol.join(items), text=draw(st.text("xyz ", max_size=4)), eol=eol, dc=xmp.DC)
    place = draw(st.integers(0, len(fields)))
    about = f'{eol}  <rdf:Description rdf:about="" xmp:k="{draw(TEXTS)}/>">'
    parts = [about, *fields[:place], subject, *fields[place:], f"{eol}  </rdf:Description>"]
    if draw(st.booleans()):
        parts.insert(draw(st.sampled_from([0, len(parts)])), "<rdf:Description rdf:about='' xmp:l='/'/>")
    head = f'<?xpacket begin="" id="W5"?>{eol}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {xmp.NAMESPACES}>'
    tail = f"</rdf:RDF></x:xmpmeta>{eol}{' ' * draw(st.integers(0, 99))}<?xpacket end='w'?>"
    mark = MARKS[encoding] if draw(st.booleans()) else b""
    kept = [head, about, *fields, *(items if "{items}" in form else []), tail]
    return mark + (head + "".join(parts) + tail).encode(encoding), [piece.encode(encoding) for piece in kept]


@settings(deadline=None, max_examples=60)
@given(documents(), PATHS)
def test_tags_are_added_and_nothing_else_changes(document: tuple[bytes, list[bytes]], paths: list[TagPath]) -> None:
    before, kept = document
    after = add_tags(before, paths)
    words = {" ".join(level.split()).casefold() for path in paths for level in path}
    present = {tag.casefold() for tag in xmp.tags(_unmarked(before))}
    if after is None:
        assert words <= present
        return
    found = xmp.tags(_unmarked(after))
    assert {tag.casefold() for tag in found} == present | words
    assert found[: len(xmp.tags(_unmarked(before)))] == xmp.tags(_unmarked(before))
    assert len({tag.casefold() for tag in found}) - len(present) == len(found) - len(xmp.tags(_unmarked(before)))
    assert xmp.others(_unmarked(after)) == xmp.others(_unmarked(before))
    assert all(piece in after for piece in kept)
    rest = iter(after)
    assert all(byte in rest for byte in before)
    assert add_tags(after, paths) is None


def _unmarked(content: bytes) -> bytes:
    """The same in UTF-8: ElementTree reads no UTF-32, and no UTF-16 without a mark."""
    for encoding, mark in MARKS.items():
        if content.startswith((mark, "<".encode(encoding))):
            return content.removeprefix(mark).decode(encoding).encode()
    raise AssertionError(content)
