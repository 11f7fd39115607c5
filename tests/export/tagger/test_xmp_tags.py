"""Tags are added to XMP of every form, and nothing else changes in it."""

import codecs

import pytest

from export.tagger.xmp_document import XmpError
from export.tagger.xmp_tags import add_tags
from tests.helpers import xmp

CAT, DOG = ("cat",), ("dog",)
BAG = "<dc:subject><rdf:Bag><rdf:li>own</rdf:li></rdf:Bag></dc:subject>"


def added(before: bytes, *paths: tuple[str, ...]) -> bytes:
    """The new content; a second run changes nothing, and other fields are the same."""
    after = add_tags(before, paths or [CAT])
    assert after is not None
    assert add_tags(after, paths or [CAT]) is None
    assert xmp.others(after) == xmp.others(before)
    return after


@pytest.mark.parametrize(
    ("before", "present"),
    [
        (xmp.document(BAG), ["own"]),
        (xmp.document("<xmp:Rating>4</xmp:Rating>" + BAG.replace("Bag", "Seq")), ["own"]),
        (xmp.document("<dc:subject><rdf:Bag></rdf:Bag></dc:subject>"), []),
        (xmp.document("<dc:subject>own &amp; <![CDATA[<x>]]></dc:subject>"), ["own & <x>"]),
        (xmp.document("<dc:subject></dc:subject>"), []),
        (xmp.document("<xmp:Rating>4</xmp:Rating>"), []),
        (xmp.document(""), []),
        (xmp.document("", f"<rdf:Description rdf:about=''>{BAG}</rdf:Description>"), ["own"]),
        (xmp.document("<xmp:a/>", "<rdf:Description xmp:b='>/'/>"), []),
        (xmp.document("<dc:subject xml:lang='en'>own</dc:subject>"), ["own"]),
        (xmp.document("<dc:subject><rdf:Bag><rdf:li xml:lang='e'>a</rdf:li><rdf:li/></rdf:Bag></dc:subject>"), ["a"]),
    ],
)  # fmt: skip
def test_tags_are_inserted_and_every_byte_stays(before: bytes, present: list[str]) -> None:
    after = added(before, CAT, ("a & <b>",))
    assert xmp.tags(after) == [*present, "cat", "a & <b>"]
    rest = iter(after)
    assert all(byte in rest for byte in before)  # all of it, in its order


@pytest.mark.parametrize(
    ("before", "present"),
    [
        (b"<rdf:RDF %s><rdf:Description rdf:about='' xmp:a='/>'/></rdf:RDF>" % xmp.NAMESPACES.encode(), []),
        (xmp.document("<dc:subject/>"), []),
        (xmp.document("<dc:subject><rdf:Bag/></dc:subject>"), []),
        (
            b"<rdf:RDF %s><rdf:Description xmp:a=\" dc:subject='no'\" dc:subject = 'own &amp; &quot;'/></rdf:RDF>"
            % xmp.NAMESPACES.encode(),
            ['own & "'],
        ),
    ],
)  # fmt: skip
def test_an_empty_tag_is_opened_and_an_attribute_becomes_a_list(before: bytes, present: list[str]) -> None:
    assert xmp.tags(added(before)) == [*present, "cat"]


def test_xmp_without_a_description_gets_one() -> None:
    for before in (b"<rdf:RDF %s/>", b"<rdf:RDF %s> <!-- none --></rdf:RDF>"):
        after = add_tags(before % xmp.NAMESPACES.encode(), [CAT])
        assert after is not None
        assert xmp.tags(after) == ["cat"]
        assert b'<rdf:Description rdf:about="">' in after


def test_an_attribute_with_another_prefix_of_its_namespace_is_moved() -> None:
    names = f'xmlns:rdf="{xmp.RDF}" xmlns:dc="{xmp.DC}" xmlns:also="{xmp.DC}"'
    after = added(f"<rdf:RDF {names}><rdf:Description also:subject='own'/></rdf:RDF>".encode())
    assert xmp.tags(after) == ["own", "cat"]


@pytest.mark.parametrize("declared", ["", f' xmlns:e="{xmp.DC}"'])
@pytest.mark.parametrize(("prefix", "colon"), [("r", ":"), ("", "")])
def test_other_prefixes_are_used(prefix: str, colon: str, declared: str) -> None:
    at = f"{prefix}{colon}"
    names = f'xmlns{colon}{prefix}="{xmp.RDF}"{declared} xmlns:dc="urn:another"'
    for inside in ("", f"<{at}Description><other/></{at}Description>"):
        before = f"<{at}RDF {names}>{inside}</{at}RDF>".encode()
        after = add_tags(before, [CAT])
        assert after is not None
        assert xmp.tags(after) == ["cat"]
        assert add_tags(after, [CAT]) is None
        assert (b"<e:subject>" in after) == bool(declared)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-32-be", codecs.BOM_UTF32_BE),
        *((name, b"") for name in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
    ],
)
def test_the_encoding_stays(encoding: str, mark: bytes) -> None:
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\r\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\r\n'
        + xmp.document("<xmp:a>日本 😀</xmp:a>" + BAG).decode()
        + "\r\n</x:xmpmeta>"
        + "\r\n"
        + " " * 2000
        + "\r\n<?xpacket end='w'?>"
    )
    before = mark + packet.encode(encoding)
    after = add_tags(before, [CAT, ("Straße 😀",)])
    assert after is not None
    new = "<rdf:li>cat</rdf:li><rdf:li>Straße 😀</rdf:li>"
    assert after == mark + packet.replace("</rdf:Bag>", f"{new}</rdf:Bag>").encode(encoding)


def test_a_declared_encoding_has_to_be_the_real_one() -> None:
    for name, content in (("utf-16", "utf-8"), ("UTF-8", "utf-16-le"), ("ISO-8859-1", "utf-8")):
        text = f"<?xml version='1.0' encoding='{name}'?>{xmp.document(BAG).decode()}"
        with pytest.raises(XmpError, match=f"expected UTF-8, UTF-16 or UTF-32 as declared, got '{name}'"):
            add_tags(text.encode(content), [CAT])
    text = f"<?xml version='1.0' encoding='UTF-16'?>{xmp.document(BAG).decode()}"
    assert add_tags(text.encode("utf-16"), [CAT]) is not None


def test_lines_and_indentation_are_continued() -> None:
    lines = [
        f"<rdf:RDF {xmp.NAMESPACES}>",
        "\t<rdf:Description>",
        "\t\t<dc:subject>",
        "\t\t\t<rdf:Bag>",
        "\t\t\t\t<rdf:li>own</rdf:li>",
        "\t\t\t</rdf:Bag>",
        "\t\t</dc:subject>",
        "\t</rdf:Description>",
        "</rdf:RDF>",
    ]
    before = "\r\n".join(lines).encode()
    assert added(before).decode().split("\r\n") == [*lines[:5], "\t\t\t\t<rdf:li>cat</rdf:li>", *lines[5:]]


def test_a_tag_in_other_case_or_normal_form_is_present() -> None:
    before = xmp.document(
        "<dc:subject><rdf:Bag><rdf:li> CAT\n</rdf:li><rdf:li>Cafe\u0301</rdf:li></rdf:Bag></dc:subject>"
    )
    assert add_tags(before, [CAT, ("café",)]) is None
    qualified = "<rdf:li rdf:parseType='Resource'><rdf:value>Cat</rdf:value><xmp:q>x</xmp:q></rdf:li>"
    assert add_tags(xmp.document(f"<dc:subject><rdf:Bag>{qualified}</rdf:Bag></dc:subject>"), [CAT]) is None
    assert xmp.tags(added(xmp.document(""), ("Cat",), CAT)) == ["Cat"]


def test_a_label_has_only_characters_that_xml_allows() -> None:
    odd = "a\x00\x1b[2J\ud800b\ufffe \x85c\r\nd & <e> \"f\" 'g' \u200frtl ]]>"
    assert xmp.tags(added(xmp.document(""), (odd,))) == ["a[2Jb c d & <e> \"f\" 'g' \u200frtl ]]>"]
    assert add_tags(xmp.document(""), [("\x07",)]) is None
    assert add_tags(None, []) is None


def test_new_xmp_holds_the_tags() -> None:
    new = add_tags(None, [("animal", "cat"), DOG])
    assert new is not None
    assert new.startswith(b"<?xml")
    assert xmp.tags(new) == ["animal", "cat", "dog"]
    assert xmp.tags(new, xmp.HIERARCHICAL) == ["animal|cat", "dog"]
    assert xmp.tags(new, xmp.TAGS_LIST) == ["animal/cat", "dog"]
    assert b"<rdf:Seq>" in new.split(b"TagsList")[1]
    flat = add_tags(None, [CAT])
    assert flat is not None
    assert b"hierarchicalSubject" not in flat
    assert b"TagsList" not in flat


@pytest.mark.parametrize("padding", [b"", b"\0\0", b"\n  <?xpacket end='w'?>"])
def test_new_xmp_begins_with_the_tags_in_the_image(padding: bytes) -> None:
    attribute = b"<rdf:RDF %s><rdf:Description dc:subject=' own &#13; &lt;b&gt; '/></rdf:RDF>" % xmp.NAMESPACES.encode()
    for embedded in (attribute, xmp.document("<dc:subject>own &lt;b&gt;</dc:subject><xmp:Rating>4</xmp:Rating>")):
        new = add_tags(None, [CAT, ("Own <b>",)], embedded + padding)
        assert new is not None
        assert xmp.tags(new) == ["own <b>", "cat"]
        assert b"Rating" not in new
        assert add_tags(None, [("Own <b>",)], embedded + padding) is None
    new = add_tags(None, [("animal", "cat")], xmp.document(BAG) + padding)
    assert new is not None
    assert xmp.tags(new) == ["own", "animal", "cat"]
    assert xmp.tags(new, xmp.TAGS_LIST) == ["own", "animal/cat"]
    assert add_tags(None, [CAT], b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>' + padding) == add_tags(None, [CAT])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_padding_is_no_part_of_the_last_character(encoding: str) -> None:
    for padding in ("", "\0", "\0\0\0"):
        new = add_tags(None, [CAT], f"{xmp.document(BAG).decode()}{padding}".encode(encoding))
        assert xmp.tags(new or b"") == ["own", "cat"]


def test_a_separator_inside_a_level_separates_nothing() -> None:
    new = add_tags(None, [("a|b", "c/d")])
    assert new is not None
    assert xmp.tags(new) == ["a|b", "c/d"]
    assert xmp.tags(new, xmp.HIERARCHICAL) == ["a-b|c/d"]
    assert xmp.tags(new, xmp.TAGS_LIST) == ["a|b/c-d"]
    assert add_tags(new, [("a|b", "c/d")]) is None


def test_a_new_list_of_paths_begins_with_what_applications_read_before() -> None:
    after = added(xmp.document(BAG.replace("own", "own</rdf:li><rdf:li>Animal")), ("animal", "cat"))
    assert xmp.tags(after) == ["own", "Animal", "cat"]
    assert xmp.tags(after, xmp.HIERARCHICAL) == ["own", "animal|cat"]
    paths = "<digiKam:TagsList><rdf:Seq><rdf:li>People/Ann</rdf:li></rdf:Seq></digiKam:TagsList>"
    after = added(xmp.document(paths), ("animal", "cat"))
    assert xmp.tags(after, xmp.TAGS_LIST) == ["People/Ann", "animal/cat"]
    assert xmp.tags(after, xmp.HIERARCHICAL) == ["People|Ann", "animal|cat"]


def test_a_new_list_of_paths_keeps_the_spelling_of_tags_without_a_hierarchy() -> None:
    after = added(xmp.document(BAG.replace("own", "Holiday</rdf:li><rdf:li>DOG")), DOG, ("animal", "cat"))
    assert xmp.tags(after) == ["Holiday", "DOG", "animal", "cat"]
    assert xmp.tags(after, xmp.HIERARCHICAL) == ["Holiday", "DOG", "animal|cat"]


def test_a_list_of_paths_that_applications_read_gets_tags_without_a_hierarchy_too() -> None:
    paths = "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Animal|Cat</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    after = added(xmp.document(paths), CAT, DOG)
    assert xmp.tags(after, xmp.HIERARCHICAL) == ["Animal|Cat", "dog"]
    assert xmp.tags(after) == ["cat", "dog"]
    assert xmp.tags(after, xmp.TAGS_LIST) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-be"])
def test_many_attributes_become_one_list(encoding: str) -> None:
    """Each attribute is an edit, and its name may have any of the prefixes in force."""
    names = " ".join(f'xmlns:n{number}="{xmp.DC}"' for number in range(100))
    owners = "".join(f"<rdf:Description n{n}:subject='ä{n}' xmp:b='1'/>" for n in range(100))
    text = f'<rdf:RDF xmlns:rdf="{xmp.RDF}" xmlns:xmp="urn:xmp" {names}>{owners}</rdf:RDF>'
    after = add_tags(text.encode(encoding), [CAT])
    assert after is not None
    utf8 = after.decode(encoding).encode()
    assert xmp.tags(utf8) == [*(f"ä{number}" for number in range(100)), "cat"]
    assert utf8.count(b"<rdf:Description xmp:b='1'") == 100


def test_xmp_of_many_parts_is_read() -> None:
    """Namespaces, attributes, texts and entities in numbers that a careless reader takes minutes for."""
    names = " ".join(f'xmlns:n{number}="urn:{number}" n{number}:a="x" ' for number in range(2000))
    text = "".join(f"{'y' * 2000}&amp;<!-- -->" for _ in range(2000))
    before = xmp.document("", f"<rdf:Description {names}><xmp:a>{text}</xmp:a></rdf:Description>")
    assert xmp.tags(add_tags(before, [CAT]) or b"") == ["cat"]
