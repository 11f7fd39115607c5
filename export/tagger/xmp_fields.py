"""The lists of tags in XMP, in the forms that XMP and RDF have for them."""

from __future__ import annotations

from typing import NamedTuple

from export.tagger.xmp_document import RDF, Document, Element, Name, XmpError

BY_HAND = "add the tags by hand, or remove the sidecar"


class Field(NamedTuple):
    """A list of tags."""

    namespace: str
    local: str
    prefix: str  # if the document has none
    container: str
    separator: str  # between the levels of a tag; empty if the list holds single words

    @property
    def name(self) -> Name:
        """Namespace and local name."""
        return self.namespace, self.local

    def __str__(self) -> str:
        """As error messages show it."""
        return f"{self.prefix}:{self.local}"


SUBJECT = Field("http://purl.org/dc/elements/1.1/", "subject", "dc", "Bag", "")
HIERARCHICAL = Field("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject", "lr", "Bag", "|")
TAGS_LIST = Field("http://www.digikam.org/ns/1.0/", "TagsList", "digiKam", "Seq", "/")
FIELDS = (SUBJECT, HIERARCHICAL, TAGS_LIST)
CONTAINERS = ((RDF, "Bag"), (RDF, "Seq"))


def resources(document: Document) -> Element:
    """The element rdf:RDF.  Raises XmpError if there is none."""
    for element in document.root.descendants():
        if element.name == (RDF, "RDF"):
            return element
    raise XmpError("expected XMP with rdf:RDF, got other XML; remove the file")


def descriptions(document: Document) -> list[Element]:
    """The elements rdf:Description that hold the fields."""
    return [child for child in resources(document).children if child.name == (RDF, "Description")]


def properties(document: Document, field: Field) -> list[Element]:
    """The elements of a field; attributes of rdf:Description are not among them."""
    name = field.name
    return [child for owner in descriptions(document) for child in owner.children if child.name == name]


def items(document: Document, field: Field) -> list[str]:
    """The tags of a field, those in attributes first.  Raises XmpError for a form that is not known."""
    found = [owner.attributes[field.name] for owner in descriptions(document) if field.name in owner.attributes]
    for element in properties(document, field):
        if any(namespace == RDF for namespace, _ in element.attributes):
            raise XmpError(f"{field}: expected a list of tags, got an rdf: attribute; {BY_HAND}")
        listed = container(element, field)
        found += [element.text] if listed is None else [_value(item) for item in listed.children]
    return [item for item in found if item]


def container(element: Element, field: Field) -> Element | None:
    """The Bag or Seq in the element of a field; None for plain text and for nothing."""
    if not element.children:
        return None
    listed = element.children[0]
    if len(element.children) > 1 or listed.name not in CONTAINERS or element.text or listed.text:
        raise XmpError(f"{field}: expected a list of tags, got another structure; {BY_HAND}")
    return listed


def others(document: Document) -> list[tuple[Name, dict[Name, str], str]]:
    """Everything but the lists of tags, and rdf:Description without content."""
    names = {field.name for field in FIELDS}
    lists = {id(below) for field in FIELDS for top in properties(document, field) for below in top.descendants()}
    found = []
    for element in document.root.descendants():
        attributes = {name: value for name, value in element.attributes.items() if name not in names}
        is_empty = element.name == (RDF, "Description") and not attributes.keys() - {(RDF, "about")}
        if id(element) not in lists and not (is_empty and not element.text):
            found.append((element.name, attributes, element.text))
    return found


def _value(item: Element) -> str:
    """The text of an item, also of one with qualifiers."""
    for element in item.descendants():
        if element.name == (RDF, "value"):
            return element.text
        if (RDF, "value") in element.attributes:
            return element.attributes[RDF, "value"]
    return item.text
