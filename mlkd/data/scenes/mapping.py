"""From the files of the image packages to labels: reads scenes.yaml, or a folder with one sub-folder a label."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

MAPPING = Path(__file__).with_name("scenes.yaml")


@dataclass(frozen=True)
class LabelRule:
    """Which cut-outs one label takes."""

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
    """Files of every label and how many at most, and of the backgrounds; `themes` groups the labels' names."""

    root: Path
    cutouts: dict[str, list[Path]]
    at_most: dict[str, int]
    themes: dict[str, tuple[str, ...]]
    backgrounds_root: Path
    backgrounds: list[Path]


def read_mapping(path: Path = MAPPING) -> Mapping:
    """The rules as written in scenes.yaml, in its order."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules = tuple(
        LabelRule(label, theme, tuple(rule["from"]), tuple(rule.get("not", ())), rule.get("at_most"))
        for theme, labels in tree["themes"].items()
        for label, rule in labels.items()
    )
    return Mapping(tree["roots"], tuple(tree["never"]), tuple(tree["backgrounds"]), rules)


def alternatives(pattern: str) -> list[str]:
    """Write out a pattern's {a,b} choices."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if not choice:
        return [pattern]
    head, tail = pattern[: choice.start()], pattern[choice.end() :]
    return [full for option in choice.group(1).split(",") for full in alternatives(head + option + tail)]


def matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns; `*` also matches a slash; no pattern matches nothing."""
    parts = [fnmatch.translate(one) for pattern in patterns for one in alternatives(pattern)]
    return re.compile("|".join(parts) if parts else r"(?!)")


def mapped_sources(root: Path, mapping: Mapping) -> Sources:
    """Apply the rules to the packages unpacked below `root`; raises ValueError where a label finds nothing."""
    names = _short_names(root, mapping)
    never = matcher(mapping.never)
    cutouts: dict[str, list[Path]] = {}
    themes: dict[str, tuple[str, ...]] = {}
    for rule in mapping.rules:
        takes, leaves = matcher(rule.patterns), matcher(rule.without)
        found = [
            file
            for name, file in names.items()
            if name.endswith(".png")
            and takes.match(name)
            and not (leaves.match(PurePosixPath(name).stem) or leaves.match(name))
            and not never.match(PurePosixPath(name).stem)
        ]
        if not found:
            raise ValueError(
                f"label {rule.name!r}: expected cut-outs below {root}, got none; run `python -m pipeline fetch` again"
            )
        cutouts[rule.name] = found
        themes[rule.theme] = (*themes.get(rule.theme, ()), rule.name)
    shows = matcher(mapping.backgrounds)
    at_most = {rule.name: rule.at_most for rule in mapping.rules if rule.at_most is not None}
    backgrounds = [file for name, file in names.items() if shows.match(name)]
    return Sources(root, cutouts, at_most, themes, root, backgrounds)


def _short_names(root: Path, mapping: Mapping) -> dict[str, Path]:
    names = {
        f"{short}/{file.relative_to(root / folder).as_posix()}": file
        for short, folder in mapping.roots.items()
        for file in (root / folder).rglob("*")
        if file.suffix in (".png", ".jpg") and not file.is_symlink()
    }
    return dict(sorted(names.items()))


def folder_cutouts(root: Path) -> dict[str, list[Path]]:
    """LABEL/*.png below `root`; raises ValueError when there is no such folder."""
    found = {folder.name: sorted(folder.glob("*.png")) for folder in sorted(root.glob("*")) if folder.is_dir()}
    found = {label: files for label, files in found.items() if files}
    if not found:
        raise ValueError(f"cutouts: expected folders LABEL/*.png in {root}, got none; draw at least one a label")
    return found


def folder_backgrounds(root: Path) -> list[Path]:
    """*.jpg and *.png below `root`; raises ValueError when there is none."""
    found = sorted(file for file in root.glob("*") if file.suffix in (".jpg", ".png"))
    if not found:
        raise ValueError(f"backgrounds: expected *.jpg or *.png in {root}, got none; add at least three photographs")
    return found
