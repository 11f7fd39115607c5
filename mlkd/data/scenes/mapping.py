"""Assigns the cut-outs to labels, by scenes.yaml or by the sub-folders of a user's folder."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

WILD = re.compile(r"[*?[]")
MAPPING = Path(__file__).with_name("scenes.yaml")


@dataclass(frozen=True)
class LabelRule:
    """Selects the cut-outs of one label."""

    name: str
    theme: str
    patterns: tuple[str, ...]
    without: tuple[str, ...] = ()
    at_most: int | None = None


@dataclass(frozen=True)
class Mapping:
    """All rules of scenes.yaml."""

    roots: dict[str, str]
    never: tuple[str, ...]
    backgrounds: tuple[str, ...]
    rules: tuple[LabelRule, ...]


@dataclass(frozen=True)
class Sources:
    """The files of each label, the most that a label takes, the themes that group labels, and the backgrounds."""

    root: Path
    cutouts: dict[str, list[Path]]
    at_most: dict[str, int]
    themes: dict[str, tuple[str, ...]]
    backgrounds_root: Path
    backgrounds: list[Path]


def read_mapping(path: Path = MAPPING) -> Mapping:
    """Read the rules of scenes.yaml, in its order."""
    tree = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    rules = tuple(
        LabelRule(label, theme, tuple(rule["from"]), tuple(rule.get("not", ())), rule.get("at_most"))
        for theme, labels in tree["themes"].items()
        for label, rule in labels.items()
    )
    return Mapping(tree["roots"], tuple(tree["never"]), tuple(tree["backgrounds"]), rules)


def alternatives(pattern: str) -> list[str]:
    """Expand the {a,b} choices of a pattern."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if not choice:
        return [pattern]
    head, tail = pattern[: choice.start()], pattern[choice.end() :]
    return [full for option in choice.group(1).split(",") for full in alternatives(head + option + tail)]


def matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return whether a text matches one of the patterns; `*` also matches a slash; without a pattern nothing matches.

    Only patterns with more than a `*` at the end need a regular expression, which takes long to compile.
    """
    choices = [choice for pattern in patterns for choice in alternatives(pattern)]
    whole = {choice for choice in choices if not WILD.search(choice)}
    beginnings = tuple(choice[:-1] for choice in choices if choice[-1:] == "*" and not WILD.search(choice[:-1]))
    others = [choice for choice in choices if choice not in whole and choice[:-1] not in beginnings]
    expression = re.compile("|".join(map(fnmatch.translate, others)) if others else r"(?!)")
    return lambda text: text in whole or text.startswith(beginnings) or expression.match(text) is not None


def select(names: Sequence[str], patterns: tuple[str, ...]) -> list[str]:
    """Select from sorted names those that match a pattern; only names that begin as the pattern does are compared."""
    found: set[str] = set()
    near: Iterable[str]
    for choice in (choice for pattern in patterns for choice in alternatives(pattern)):
        beginning = WILD.split(choice, maxsplit=1)[0]
        first, end = bisect_left(names, beginning), bisect_left(names, beginning + chr(sys.maxunicode))
        near = names[first:end]
        if near and choice != f"{beginning}*":  # else all of them match
            near = filter(re.compile(fnmatch.translate(choice)).match, near)
        found.update(near)
    return sorted(found)


def mapped_sources(root: Path, mapping: Mapping) -> Sources:
    """Apply the rules to the packages unpacked below `root`.  Raises ValueError for a label without cut-outs."""
    files = _short_names(root, mapping)
    names, never = sorted(files), matcher(mapping.never)
    cutouts: dict[str, list[Path]] = {}
    themes: dict[str, tuple[str, ...]] = {}
    for rule in mapping.rules:
        excluded = matcher(rule.without)
        drawn = [name for name in select(names, rule.patterns) if name.endswith(".png")]
        stems = {name: name.rpartition("/")[2].removesuffix(".png") for name in drawn}
        cutouts[rule.name] = [
            Path(files[name]) for name, stem in stems.items() if not (excluded(stem) or excluded(name) or never(stem))
        ]
        if not cutouts[rule.name]:
            raise ValueError(
                f"label {rule.name!r}: expected cut-outs below {root}, got none; rerun `python -m pipeline fetch`"
            )
        themes[rule.theme] = (*themes.get(rule.theme, ()), rule.name)
    at_most = {rule.name: rule.at_most for rule in mapping.rules if rule.at_most is not None}
    backgrounds = [Path(files[name]) for name in select(names, mapping.backgrounds)]
    return Sources(root, cutouts, at_most, themes, root, backgrounds)


def _short_names(root: Path, mapping: Mapping) -> dict[str, str]:
    """Return the files of all images by their short names; as text, because there are ten thousand."""
    return {
        short + file.removeprefix(folder): file
        for short, folder in ((short, str(root / inside)) for short, inside in mapping.roots.items())
        for file in _files(folder)
        if file.endswith((".png", ".jpg"))
    }


def _files(folder: str) -> Iterator[str]:
    """List all files below a folder except symbolic links; nothing where the folder is missing."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif not entry.is_symlink():
                yield entry.path


def folder_cutouts(root: Path) -> dict[str, list[Path]]:
    """List LABEL/*.png below `root`.  Raises ValueError if there is no such folder."""
    cutouts = {folder.name: sorted(folder.glob("*.png")) for folder in sorted(root.glob("*")) if folder.is_dir()}
    cutouts = {label: files for label, files in cutouts.items() if files}
    if not cutouts:
        raise ValueError(f"cutouts: expected folders LABEL/*.png in {root}, got none; add at least one for each label")
    return cutouts


def folder_backgrounds(root: Path) -> list[Path]:
    """List *.jpg and *.png in `root`.  Raises ValueError if there is none."""
    files = sorted(file for file in root.glob("*") if file.suffix in (".jpg", ".png"))
    if not files:
        raise ValueError(f"backgrounds: expected *.jpg or *.png in {root}, got none; add at least four photographs")
    return files
