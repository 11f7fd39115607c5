"""XMP as photo applications write it, and another reader of its tags: ElementTree, which knows nothing of positions."""

import io
from xml.etree import ElementTree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LR = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
SUBJECT, HIERARCHICAL, TAGS_LIST = f"{{{DC}}}subject", f"{{{LR}}}hierarchicalSubject", f"{{{DIGIKAM}}}TagsList"
NAMESPACES = f'xmlns:rdf="{RDF}" xmlns:dc="{DC}" xmlns:lr="{LR}" xmlns:digiKam="{DIGIKAM}" xmlns:xmp="urn:xmp"'


def document(inside: str, more: str = "") -> bytes:
    """One rdf:Description with what is inside, and what follows it."""
    return f'<rdf:RDF {NAMESPACES}><rdf:Description rdf:about="">{inside}</rdf:Description>{more}</rdf:RDF>'.encode()


def tags(content: bytes, name: str = SUBJECT) -> list[str]:
    """The tags of a list; those in attributes first."""
    root = ElementTree.fromstring(content)
    found = [about.attrib[name] for about in root.iter(f"{{{RDF}}}Description") if name in about.attrib]
    for element in root.iter(name):
        items = [item.text or "" for item in element.iter(f"{{{RDF}}}li")]
        found += items if len(element) else [element.text or ""]
    return [text.strip() for text in found if text.strip()]


def others(content: bytes) -> str:
    """Everything but the lists of tags, in canonical form."""
    out = io.StringIO()
    lists = [SUBJECT, HIERARCHICAL, TAGS_LIST]
    text = ElementTree.tostring(ElementTree.fromstring(content), "unicode")
    ElementTree.canonicalize(text, out=out, exclude_tags=lists, exclude_attrs=lists, strip_text=True)
    return out.getvalue()
