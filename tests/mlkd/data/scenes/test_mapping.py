from pathlib import Path

import pytest

from mlkd.data.scenes.mapping import LabelRule, Mapping, alternatives, mapped_sources, read_mapping


def mapping(*rules: LabelRule) -> Mapping:
    return Mapping({"clip": "usr/clip", "wall": "usr/wall"}, ("*broken*",), ("wall/{sky,sea}.jpg",), rules)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("clip/a/owl.png", "clip/a/old_owl.png", "clip/b/c/hen.png", "clip/a/broken_1.png", "clip/a/owl.txt"):
        file = tmp_path / "usr" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "usr/wall").mkdir()
    for name in ("sky", "sea", "me"):
        (tmp_path / "usr/wall" / f"{name}.jpg").touch()
    (tmp_path / "usr/clip/a/link.png").symlink_to("owl.png")
    return tmp_path


def test_alternatives_are_expanded() -> None:
    assert alternatives("{a,b}/{c,d}.png") == ["a/c.png", "a/d.png", "b/c.png", "b/d.png"]
    assert alternatives("plain*") == ["plain*"]


def test_rules_include_and_exclude(root: Path) -> None:
    sources = mapped_sources(
        root,
        mapping(LabelRule("bird", "farm", ("clip/*",), ("old_*", "clip/b/*")), LabelRule("hen", "farm", ("clip/b/*",))),
    )
    names = {label: [file.name for file in files] for label, files in sources.cutouts.items()}
    assert names == {"bird": ["owl.png"], "hen": ["hen.png"]}
    assert sources.themes == {"farm": ("bird", "hen")}
    assert [file.name for file in sources.backgrounds] == ["sea.jpg", "sky.jpg"]


def test_a_label_without_cutouts_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match="label 'fish': expected cut-outs below"):
        mapped_sources(root, mapping(LabelRule("fish", "sea", ("clip/fish/*",))))


def test_the_default_mapping() -> None:
    default = read_mapping()
    names = [rule.name for rule in default.rules]
    assert len(names) == len(set(names)) == 30
    assert all(rule.patterns for rule in default.rules)
    for rule in default.rules:
        assert all(pattern.split("/")[0] in default.roots for pattern in rule.patterns)
        assert all(isinstance(pattern, str) for pattern in rule.without)
    assert any("Picture_1A" in pattern for pattern in default.backgrounds)  # the name of a file, not of this project
