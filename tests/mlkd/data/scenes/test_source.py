import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mlkd.core.cache import cache_root
from mlkd.core.progress import silent
from mlkd.data import Scenes
from mlkd.data.base import SOURCE_SPLITS, Listing
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.data.scenes import composer


def contents(listing: Listing) -> dict[str, str]:
    return {
        sample.name: hashlib.sha256(sample.file.read_bytes()).hexdigest() + str(sample.boxes)
        for samples in listing.splits.values()
        for sample in samples
    }


def made(drawn: Path, **fields: int) -> Scenes:
    sizes = {"image_px": 48, "train": 30, "val": 10, "test": 12} | fields
    return Scenes(cutouts=drawn / "cutouts", backgrounds=drawn / "backgrounds", **sizes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def listing(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    return made(drawn).read(tmp_path_factory.mktemp("scenes"), silent)


def test_a_scene_depends_only_on_seed_split_and_number(drawn: Path, listing: Listing, tmp_path: Path) -> None:
    few = contents(listing)
    many = contents(made(drawn, train=35, val=14, test=15).read(tmp_path / "b", silent))
    assert len(few) == 52
    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many)
    other = contents(made(drawn, seed=1).read(tmp_path / "c", silent))
    assert not set(few.values()) & set(other.values())


def test_processes_give_the_same_scenes(
    drawn: Path, listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "CHUNK", 7)
    monkeypatch.setattr(composer, "sched_getaffinity", lambda pid: {0, 1})
    assert contents(made(drawn).read(tmp_path, silent)) == contents(listing)


def test_the_listing_has_labels_and_groups(drawn: Path, listing: Listing) -> None:
    assert listing.labels.names == ("leaf", "ruby", "wave")
    assert listing.composed
    assert not made(drawn).needs_fetch()
    assert {split: len(listing.splits[split]) for split in SOURCE_SPLITS} == {"train": 30, "val": 10, "test": 12}
    for samples in listing.splits.values():
        for sample in samples:
            assert sample.positives == tuple(sorted(box.label for box in sample.boxes))
    groups = {split: {sample.group for sample in listing.splits[split]} for split in SOURCE_SPLITS}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["val"]


def test_fingerprint_depends_on_the_files(drawn: Path, tmp_path: Path) -> None:
    for folder in ("cutouts/ruby", "backgrounds"):
        shutil.copytree(drawn / folder, tmp_path / folder)
    before = made(tmp_path).fingerprint()
    assert before == made(tmp_path).fingerprint()
    with (tmp_path / "backgrounds" / "0.png").open("ab") as file:
        file.write(b"x")
    assert made(tmp_path).fingerprint() != before


def test_clusters_name_cutouts_and_background(drawn: Path, tmp_path: Path) -> None:
    """Names every object and the background once; only images of one split share them."""
    prepare(made(drawn), tmp_path, (48,))
    names: dict[str, set[str]] = {}
    for part in ("train", "select", "tune", "test"):
        split = read_split(tmp_path, part)
        for clusters, boxes, group in zip(split.clusters, split.boxes, split.groups, strict=True):
            backgrounds = [name for name in clusters if name.startswith("background ")]
            assert (clusters[0], len(backgrounds), len(clusters)) == (group, 1, len(boxes) + 1)
        names[part] = {name for clusters in split.clusters for name in clusters if not name.startswith("background ")}
    assert not names["train"] & names["test"]
    assert len({clusters[-1] for clusters in read_split(tmp_path, "train").clusters}) > 1


def test_a_cluster_is_the_group_without_shared_parts(prepared: Path) -> None:
    split = read_split(prepared, "test")
    assert split.clusters == tuple((group,) for group in split.groups)


def test_fingerprint_depends_on_the_rules(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files under other labels, in other themes or with other limits are other scenes."""
    fingerprints: set[str] = set()
    sources = made(drawn)._sources()
    labels = list(sources.cutouts)
    exchanged = {labels[0]: sources.cutouts[labels[1]], labels[1]: sources.cutouts[labels[0]]}
    for change in (
        {},
        {"cutouts": sources.cutouts | exchanged},
        {"themes": {"first": tuple(labels[:1]), "second": tuple(labels[1:])}},
        {"at_most": {labels[0]: 5}},
    ):
        changed = replace(sources, **change)  # type: ignore[arg-type]
        monkeypatch.setattr(Scenes, "_sources", lambda self, changed=changed: changed)
        fingerprints.add(made(drawn).fingerprint())
    assert len(fingerprints) == 4


def test_without_fetched_images_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = Scenes()
    assert source.needs_fetch()
    assert cache_root() == tmp_path / "edge-tagger"
    with pytest.raises(ValueError, match=r"python -m pipeline fetch"):
        source.read(tmp_path, silent)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_px": 16}, "image_px: expected 32 to 512, got 16"),
        ({"val": 0}, "val: expected 4 to 1000000 scenes, got 0"),
        ({"seed": -1}, "seed: expected 0"),
        ({"cutouts": Path("x")}, "both or neither"),
    ],
)
def test_ranges(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenes(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["cutouts", "backgrounds"])
def test_empty_folders_are_refused(missing: str, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / missing).mkdir()
    folders = {"cutouts": drawn / "cutouts", "backgrounds": drawn / "backgrounds"} | {missing: tmp_path / missing}
    with pytest.raises(ValueError, match=f"{missing}: expected .* in {tmp_path / missing}, got none"):
        Scenes(**folders).read(tmp_path, silent)
