"""XMP that is refused: other formats, forms that cannot be extended, and documents over a limit."""

import pytest

from export.tagger import xmp_document
from export.tagger.xmp_document import XmpError
from export.tagger.xmp_tags import add_tags
from tests.helpers import xmp

CAT = ("cat",)
BAG = "<dc:subject><rdf:Bag><rdf:li>own</rdf:li></rdf:Bag></dc:subject>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file; remove it"),
        (b"\xff\xd8\xff\xe0 a JPEG", "expected XMP in UTF-8, got bytes that are not"),
        (b"hello", "expected well-formed XML, got: syntax error: line 1, column 0"),
        (xmp.document(BAG)[:-5], "expected well-formed XML, got: unclosed token"),
        (xmp.document(BAG) + b"<a/>", "expected well-formed XML, got: junk after document element"),
        (b"<a:b/>", "expected well-formed XML, got: unbound prefix"),
        (b"<a/>", "expected XMP with rdf:RDF, got other XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + xmp.document("<xmp:a>&b;</xmp:a>"), "without a document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "without a document type"),
        (xmp.document("<xmp:a>&b;</xmp:a>"), "undefined entity"),
        (xmp.document("<dc:subject rdf:parseType='Literal'>a</dc:subject>"), "dc:subject: expected a list of tags"),
        (xmp.document("<dc:subject rdf:parseType='Resource'><xmp:a/></dc:subject>"), "got an rdf: attribute"),
        (xmp.document("<dc:subject rdf:resource='urn:a'/>"), "dc:subject: expected a list of tags, got an rdf:"),
        (xmp.document("<dc:subject><rdf:Alt><rdf:li>a</rdf:li></rdf:Alt></dc:subject>"), "got another structure"),
        (xmp.document("<dc:subject><xmp:a/></dc:subject>"), "got another structure"),
        (xmp.document("<dc:subject>a<rdf:Bag/></dc:subject>"), "got another structure"),
        (xmp.document("<digiKam:TagsList><xmp:a/></digiKam:TagsList>"), "digiKam:TagsList: expected a list of tags"),
        (xmp.document("<xmp:a>" * 200 + "</xmp:a>" * 200), "in 100 levels, got more"),
    ],
)  # fmt: skip
def test_what_is_no_xmp_with_a_list_of_tags_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(XmpError, match=message):
        add_tags(content, [CAT])


def test_xmp_in_the_image_that_is_refused_is_named() -> None:
    for embedded in (b"", b"<a>", b"<!DOCTYPE a><a/>", xmp.document("<dc:subject><xmp:a/></dc:subject>")):
        with pytest.raises(XmpError, match="XMP in the image: "):
            add_tags(None, [CAT], embedded)


def test_too_large_xmp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = xmp.document("<xmp:a/>" * 1000)
    monkeypatch.setattr(xmp_document, "MOST_ELEMENTS", 900)
    with pytest.raises(XmpError, match="expected at most 900 elements"):
        add_tags(many, [CAT])
    monkeypatch.setattr(xmp_document, "MOST_BYTES", 1 << 10)
    with pytest.raises(XmpError, match="expected at most 0 MiB, got more"):
        add_tags(many, [CAT])


@pytest.mark.parametrize("attribute", ["xmp:a{}='x'", 'xmp:a{} = "x"', "xmlns:a{}='urn:x'"])
def test_xmp_with_too_many_attributes_is_refused(monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    monkeypatch.setattr(xmp_document, "MOST_ATTRIBUTES", 100)
    for count, fits in ((100 - 5 - 1, True), (100 - 5, False)):  # five namespaces and rdf:about
        many = " ".join(attribute.format(number) for number in range(count))
        content = xmp.document(f"<xmp:a>{'=' * 200}</xmp:a>").replace(b'rdf:about=""', b'rdf:about="" ' + many.encode())
        if fits:
            after = add_tags(content, [CAT])
            assert after is not None
            assert xmp.tags(after) == ["cat"]
        else:
            with pytest.raises(XmpError, match="expected at most 100 attributes, got more"):
                add_tags(content, [CAT])
