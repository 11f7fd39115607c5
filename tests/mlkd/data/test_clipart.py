"""The clip art source on a miniature of the packages that the test draws, and on the real ones where they lie."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mlkd.core.progress import silent
from mlkd.data import Clipart, prepare, read_split
from mlkd.data.base import Listing
from mlkd.data.clipart import DRAWINGS, LARGEST_SHARE
from mlkd.data.keywords import Rules, keywords, plain, read_rules
from mlkd.data.scenes.cache import pictures_root

SVG = """<svg xmlns="http://www.w3.org/2000/svg"><metadata><rdf:RDF><cc:Work rdf:about="">
<dc:title>no keyword</dc:title>
<dc:subject><rdf:Bag>
{items}</rdf:Bag></dc:subject>
<dc:format>image/svg+xml</dc:format></cc:Work></rdf:RDF></metadata><rect fill="&undeclared;"/></svg>
"""
FETCHED = (pictures_root() / DRAWINGS / "svg").is_dir()


def put(root: Path, name: str, image: Image.Image, *tags: str) -> None:
    for suffix in ("png", "svg"):
        (root / suffix / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(root / f"png/{name}.png")
    items = "".join(f"<rdf:li>{tag}</rdf:li>\n" for tag in tags)
    (root / f"svg/{name}.svg").write_text(SVG.format(items=items), encoding="utf-8")


def blob(seed: int) -> Image.Image:
    """A drawing of 60x60 patches like no other seed's, with a transparent margin."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.integers(0, 230, (6, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    image = Image.new("RGBA", (90, 80))
    image.paste(Image.fromarray(patches), (12, 10))
    return image


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 birds, 12 of them ducks, 20 houses, 50 stars of a series, one drawing that says nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = pictures_root() / DRAWINGS
    for number in range(24):
        put(root, f"animals/bird_{number:02}", blob(number), "hash", "Duck" if number % 2 else "bird", "HASH(0x8a0a39)")
    for number in range(20):
        put(root, f"buildings/{number:02}", blob(100 + number), "Home", "unsorted")
    for number in range(50):
        put(root, f"shapes/stars/star_{number:02}", blob(200 + number), "stars", "magick")
    put(root, "unsorted/none", blob(300), "hash")
    return root


def every(listing: Listing) -> dict[str, tuple[str, ...]]:
    """Name -> names of its labels."""
    pictures = [picture for split in listing.splits.values() for picture in split]
    return {one.name: tuple(listing.labels.names[label] for label in one.positives) for one in pictures}


def test_keywords_become_labels(root: Path) -> None:
    listing = Clipart().read(root, silent)
    assert listing.labels.names == ("animal", "bird", "building", "house", "star")
    labels = every(listing)
    assert labels["animals/bird_00"] == labels["animals/bird_01"] == ("animal", "bird")
    assert labels["buildings/07"] == ("building", "house")
    assert listing.skipped["unsorted/none"] == "no keyword says what it shows"
    assert all(listing.splits[split] for split in ("train", "val", "test"))
    assert all(picture.file.is_file() for split in listing.splits.values() for picture in split)


def test_a_long_series_is_cut_and_the_cut_is_no_matter_of_order(root: Path) -> None:
    taken = [name for name in every(Clipart().read(root, silent)) if name.startswith("shapes/stars/")]
    assert len(taken) == read_rules().series["shapes/stars/star_*"] == 40
    assert sorted(taken) != [f"shapes/stars/star_{number:02}" for number in range(40)]
    assert sorted(taken) == sorted(
        name for name in every(Clipart().read(root, silent)) if name.startswith("shapes/stars/")
    )


def test_too_few_positives_are_no_label(root: Path) -> None:
    assert "duck" in Clipart(least_positives=12).read(root, silent).labels.names
    assert "duck" not in Clipart(least_positives=13).read(root, silent).labels.names
    with pytest.raises(ValueError, match="least_positives: expected at least 1, got 0"):
        Clipart(least_positives=0)


def test_near_duplicates_share_a_split_and_the_largest_group_is_told(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twins = [blob(0), ImageOps.mirror(blob(0)), blob(0).resize((45, 40)), ImageOps.expand(blob(0), 30)]
    twins.append(Image.alpha_composite(Image.new("RGBA", blob(0).size, "white"), blob(0)))  # margins of white
    for number, twin in enumerate(twins):
        put(root, f"animals/twin_{number}", twin, "bird")
    with caplog.at_level(logging.INFO, "mlkd"):
        listing = Clipart().read(root, silent)
    same = {f"animals/twin_{number}" for number in range(5)} | {"animals/bird_00"}
    where = {split for split, pictures in listing.splits.items() for one in pictures if one.name in same}
    assert len(where) == 1
    groups = Counter(one.group for pictures in listing.splits.values() for one in pictures)
    assert groups.pop("animals/bird_00") == 6
    assert set(groups.values()) == {1}
    told = "the largest group of near-duplicates is 6 of 89 drawings (6.7%), as animals/bird_00"
    assert told in listing.provenance
    assert [record.levelname for record in caplog.records if told in record.message] == ["WARNING"]  # 2 % at most


def test_drawings_that_cannot_be_taken_are_named(root: Path) -> None:
    Image.new("RGBA", (20, 20)).save(root / "png/animals/bird_01.png")
    (root / "png/animals/bird_02.png").write_bytes((root / "png/animals/bird_02.png").read_bytes()[:200])
    (root / "svg/animals/bird_03.svg").unlink()
    put(root, "food/bread_mateya_01", blob(500), "bird")  # one of `never`
    listing = Clipart().read(root, silent)
    assert listing.skipped["animals/bird_01"] == "nothing in it is visible"
    assert listing.skipped["animals/bird_02"].startswith("cannot be read: ")
    left_out = {"food/bread_mateya_01", *(f"animals/bird_0{number}" for number in (1, 2, 3))}
    assert not left_out & every(listing).keys()


def test_prepared(root: Path) -> None:
    prepare(Clipart(), root / "out", (16,))
    train = read_split(root / "out", "train")
    assert train.pixels(16).shape == (len(train), 16, 16, 3)
    assert train.labels.names == ("animal", "bird", "building", "house", "star")


def test_fingerprint_sees_drawings_and_keywords(root: Path) -> None:
    before = Clipart().fingerprint()
    put(root, "animals/bird_00", blob(0), "bird", "owl")
    changed = Clipart().fingerprint()
    put(root, "animals/new", blob(400), "bird")
    assert len({before, changed, Clipart().fingerprint()}) == 3


def test_without_the_packages_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="run `python -m pipeline fetch`"):
        Clipart().read(tmp_path, silent)
    (pictures_root() / DRAWINGS / "png").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(pictures_root() / DRAWINGS / "png/owl.png")
    with pytest.raises(ValueError, match=r"got 1 \.png and 0 \.svg; run `python -m pipeline fetch`"):
        Clipart().read(tmp_path, silent)
    assert Clipart().needs_fetch()


def test_keywords_as_written() -> None:
    assert keywords(SVG.format(items='<rdf:li>Big  cat</rdf:li>\n<rdf:li x="y">t&amp;e</rdf:li>').encode()) == [
        "Big  cat",
        "t&e",
    ]
    assert keywords(b"<svg/>") == []
    assert plain(" Signs_and-Symbols\n ") == "signs and symbols"


def test_rules_in_their_order() -> None:
    rules = Rules(
        series={},
        never=(),
        drop=("x*",),
        merge={"cat": ("kitten", "cats")},
        implies={"cat": ("mammal",), "mammal": ("animal",), "animal": ("mammal",)},  # a circle ends
    )
    assert rules.labels(["Kitten", "", "X-ray", "red"]) == {"cat", "mammal", "animal", "red"}


def test_the_rules_that_ship_do_not_contradict_themselves() -> None:
    rules = read_rules()
    synonyms = [synonym for names in rules.merge.values() for synonym in names]
    assert len(set(synonyms)) == len(synonyms)
    labels = {*rules.merge, *rules.implies, *(kind for kinds in rules.implies.values() for kind in kinds)}
    assert not labels & set(synonyms), "a merged keyword is no label any more"
    for name in (*labels, *synonyms):
        assert name == plain(name)
        assert not rules._dropped.match(name), f"{name} is dropped before it could count"


@pytest.mark.slow
@pytest.mark.skipif(not FETCHED, reason="the clip art is not fetched")
def test_the_real_clip_art(tmp_path: Path) -> None:
    listing = Clipart().read(tmp_path, silent)
    assert 75 <= len(listing.labels) <= 90
    pictures = [picture for split in listing.splits.values() for picture in split]
    assert 4900 <= len(pictures) <= 5200
    groups = Counter(picture.group for picture in pictures)
    assert 4 <= max(groups.values()) < LARGEST_SHARE * len(pictures)
    split_of: dict[str, set[str]] = {}
    for split, members in listing.splits.items():
        for picture in members:
            split_of.setdefault(picture.group, set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
