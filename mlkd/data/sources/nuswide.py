"""NUS-WIDE in its official layout: ImageList, ConceptsList, TrainTestLabels, and images below Flickr or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Literal

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import LABELS_WITH_IMAGES, Finding, ImageSource, LeftOut, Listing, Sample, count_labels_with_images
from mlkd.data.paths import fingerprint_files, fingerprint_folders, is_file, read_text, relative_paths
from mlkd.data.splits import check_val_share, split_by_hash, train_val

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = ("Train", "Test")
PUBLISHED = {"Train images": 161_789, "Test images": 107_859, LABELS_WITH_IMAGES: 81}
MISSING = "missing file"  # reason for which images are left out


@dataclass(frozen=True, kw_only=True)
class NusWide(ImageSource):
    """NUS-WIDE Train and Test, with the 81 concepts; a share of Train becomes val, by hash of the name.

    Labels are in the order of Concepts81.txt.  TrainTestLabels may be in `root` or in root/Groundtruth, images in the
    folders of the lists or all in one folder.  Many images have no label; they are kept.
    """

    kind: Literal["nuswide"] = "nuswide"
    root: Path
    val_share: float = 0.05

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def fingerprint(self) -> str:
        """Hash names, sizes and times of the lists and the images."""
        names = [self.root / "ImageList" / f"{part}Imagelist.txt" for part in (*PARTS, "")]
        lists = [*names, self.root / "ConceptsList" / "Concepts81.txt", *self._labels().iterdir()]
        existing = [file for file in lists if file.is_file()]
        return fingerprint_files(existing, self.root)[:32] + fingerprint_folders(self._images())[:32]

    def _labels(self) -> Path:
        return _first_folder(self.root, ("TrainTestLabels", "Groundtruth/TrainTestLabels"))

    def _images(self) -> Path:
        return _first_folder(self.root, ("Flickr", "images"))

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""

        import numpy as np

        labels = _concepts(self.root / "ConceptsList" / "Concepts81.txt")
        lists = {part: _lines(self.root / "ImageList" / f"{part}Imagelist.txt") for part in PARTS}
        self._check_total(sum(map(len, lists.values())))
        folder = self._images()
        existing = set(relative_paths(folder))
        left_out = LeftOut(MISSING)
        parts: dict[str, list[Sample]] = {}
        declared = np.zeros(len(labels), dtype=np.int64)
        findings: list[Finding] = []
        for done, (part, names) in enumerate(lists.items()):
            progress("lists", done, len(lists))
            targets = _targets(self._labels(), part, labels, len(names))
            file = self.root / "ImageList" / f"{part}Imagelist.txt"
            names, targets, repeated = _merge_repeated(file, names, targets)
            findings += repeated
            declared += targets.sum(0)
            parts[part] = _samples(names, targets, folder, existing, left_out)
        bounds = train_val(self.val_share)
        train = split_by_hash(parts["Train"], bounds)
        return Listing(
            labels,
            {"train": train["train"], "val": train["val"], "test": parts["Test"]},
            "NUS-WIDE",
            ("Flickr terms of use",),
            skipped=left_out.causes,
            published=True,
            expected=PUBLISHED,
            actual={f"{part} images": len(some) for part, some in parts.items()} | count_labels_with_images(parts),
            bounds=bounds,
            declared=dict(zip(labels.names, declared.tolist(), strict=True)),
            left_out=left_out.labels,
            findings=tuple(findings),
        )

    def _check_total(self, count: int) -> None:
        file = self.root / "ImageList" / "Imagelist.txt"
        total = len(_lines(file)) if file.is_file() else count
        if total != count:
            raise ValueError(
                f"{file}: expected {count} lines as in TrainImagelist.txt and TestImagelist.txt together, got {total}; "
                "use all three from one archive"
            )


def _first_folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise ValueError(
        f"root: expected the folder {' or '.join(names)} in {root}, got none; unpack its archive into the root"
    )


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"root: expected the list {file}, got none; unpack ImageList and ConceptsList into the root")
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _concepts(file: Path) -> Labels:
    names = tuple(_lines(file))
    try:
        return Labels(names)
    except ValueError as cause:
        raise ValueError(f"{file}: {cause}") from None


def _targets(folder: Path, part: str, labels: Labels, count: int) -> NDArray[np.bool_]:
    """(count, L), from one file a label with a 0 or 1 in each line."""

    import numpy as np

    targets = np.zeros((count, len(labels)), dtype=np.bool_)
    for column, name in enumerate(labels.names):
        file = folder / f"Labels_{name}_{part}.txt"
        if not is_file(file):
            raise ValueError(f"root: expected the labels {file}, got none; unpack Groundtruth into the root")
        values = np.array(read_text(file).split(), dtype=np.str_)
        if len(values) != count:
            raise ValueError(
                f"{file}: expected {count} lines as in {part}Imagelist.txt, got {len(values)}; unpack both again"
            )
        wrong = np.flatnonzero((values != "0") & (values != "1"))
        if len(wrong):
            raise ValueError(f"{file}, line {wrong[0] + 1}: expected 0 or 1, got {str(values[wrong[0]])!r}")
        targets[:, column] = values == "1"
    return targets


def _merge_repeated(
    file: Path, names: list[str], targets: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.bool_], list[Finding]]:
    """Make one image of a name that a list has twice.  Raises ValueError if its labels differ."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if (targets[first.setdefault(name, row)] != targets[row]).any():
            raise ValueError(
                f"{file}, line {row + 1}: expected the labels of line {first[name] + 1} for the same name {name!r}, "
                "got others; remove one of the two from all lists"
            )
    repeated = len(names) - len(first)
    numbers = f"{file.name}: {repeated}. Each is one image."
    findings = [Finding("Some names are in a list more than once.", numbers, note=True)] if repeated else []
    return list(first), targets[list(first.values())], findings


def _samples(
    names: list[str], targets: NDArray[np.bool_], folder: Path, existing: set[str], left_out: LeftOut
) -> list[Sample]:
    """The images whose file exists; `left_out` receives the others."""

    import numpy as np

    samples = []
    for line, row in zip(names, targets, strict=True):
        path = PureWindowsPath(line)  # the lists have backslashes; slashes are read as well
        name = path.as_posix()
        inside = name if name in existing else path.name
        positives = tuple(int(label) for label in np.flatnonzero(row))
        if inside in existing:
            samples.append(Sample(name, folder / inside, positives, name))
        else:
            left_out.add(MISSING, name, f"missing file {folder / name}", positives)
    return samples
