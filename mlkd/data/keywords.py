"""The keywords that people wrote into SVG drawings, and what becomes of them: reads clipart.yaml."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from mlkd.data.scenes.mapping import matcher

RULES = Path(__file__).with_name("clipart.yaml")
# Not an XML parser: half of the drawings use entities that are declared nowhere, and each is read in 0.1 ms like this.
_SUBJECT = re.compile(rb"<dc:subject\b[^>]*>(.*?)</dc:subject>", re.DOTALL)
_ITEM = re.compile(rb"<rdf:li\b[^>]*>(.*?)</rdf:li>", re.DOTALL)


@dataclass(frozen=True)
class Rules:
    """All rules of clipart.yaml."""

    series: dict[str, int]
    never: tuple[str, ...]
    drop: tuple[str, ...]
    merge: dict[str, tuple[str, ...]]
    implies: dict[str, tuple[str, ...]]

    def labels(self, keywords: Iterable[str]) -> frozenset[str]:
        """What remains of one drawing's keywords."""
        kept = (keyword for keyword in map(plain, keywords) if keyword and not self._dropped.match(keyword))
        return frozenset(kind for keyword in kept for kind in self._kinds(self._label_of.get(keyword, keyword)))

    def _kinds(self, label: str) -> set[str]:
        """The label, and those of which it is a kind, at any remove."""
        kinds, new = {label}, {label}
        while new:
            new = {kind for one in new for kind in self.implies.get(one, ())} - kinds
            kinds |= new
        return kinds

    @cached_property
    def _dropped(self) -> re.Pattern[str]:
        return matcher(self.drop)

    @cached_property
    def _label_of(self) -> dict[str, str]:
        return {synonym: label for label, synonyms in self.merge.items() for synonym in synonyms}


def read_rules(path: Path = RULES) -> Rules:
    """The rules as written in clipart.yaml."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    merge, implies = ({key: tuple(names) for key, names in tree[part].items()} for part in ("merge", "implies"))
    return Rules(tree["series"], tuple(tree["never"]), tuple(tree["drop"]), merge, implies)


def keywords(svg: bytes) -> list[str]:
    """The text of every dc:subject in the drawing's RDF metadata, as written; empty where it has none."""
    items = (item for subject in _SUBJECT.findall(svg) for item in _ITEM.findall(subject))
    return [html.unescape(item.decode("utf-8", "replace")) for item in items]


def plain(keyword: str) -> str:
    """Small letters, one space for any run of spaces, _ and -."""
    return " ".join(re.split(r"[\s_-]+", keyword.lower())).strip()
