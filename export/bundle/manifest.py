"""The manifest of a bundle, read strictly and written reproducibly."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from export.errors import BundleError

SCHEMA = 3
# Files of every bundle.  The signature is of the manifest, which holds the hash of every other file.
MANIFEST, DIGEST, SIGNATURE, PROGRAM = "manifest.json", "manifest.sha256", "manifest.sig", "tagger.pyz"
ANY_PROCESSOR = "any processor"  # value of `meant_for` for most graphs
MOST_PX = 4096  # limit for the side of an image, so that a damaged manifest does not fill the memory


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Hash and size of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class EngineEntry:
    """One engine: how to open it, and its thresholds (L,)."""

    name: str
    backend: dict[str, Any]  # the fields of the dataclass of export.backends, `kind` included
    precision: str
    file: str
    files: tuple[str, ...]  # all that the runtime reads, `file` included, and the stamp
    graph: str  # the ONNX in the bundle that it was compiled from; for NNCF models/fp32.onnx
    thresholds: tuple[float, ...]
    thresholds_from: str  # the engine whose scores they were tuned on: this one, or one of the same graph
    thresholds_sha256: str  # of the file with those scores: `file` or `graph`
    expected_precision: tuple[float | None, ...]  # (L,) cross-fitted on tune; None without predictions
    expected_recall: tuple[float | None, ...]  # (L,) None for a label without positives
    tune_map: float | None
    tune_ap: tuple[float | None, ...]  # (L,) None for a label without positives
    p50_ms: float | None = None  # end to end, on `Manifest.measured_on`
    # Missing in older bundles.
    meant_for: str = field(default="", metadata={"optional": True})  # the processors that its graph is made for
    judged_in: str = field(
        default="", metadata={"optional": True}
    )  # for its mAP: "exact arithmetic", or an instruction set


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json; paths are relative to the bundle, with forward slashes."""

    schema: int = SCHEMA
    recipe: str
    recipe_hash: str
    recipe_content: dict[str, Any]  # without paths
    labels: tuple[str, ...]
    image_px: int
    preprocessing: dict[str, str]
    composed: bool
    measured: bool
    provenance: str  # of the images
    licences: tuple[str, ...]  # of the images
    weights: tuple[str, ...]  # the initial weights of training, with their licences
    versions: dict[str, str]
    tune_images: int  # for thresholds, mAP, expected precision and recall of the engines
    tune_positives: tuple[int, ...]  # (L,)
    golden: tuple[str, ...]  # images for the self-test
    golden_expected: str  # their results, step by step: see export.bundle.golden
    engines: tuple[EngineEntry, ...]
    measured_on: dict[str, Any] | None = None  # export.backends.host.identity(), and the runtimes
    files: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lists = {"labels": self.labels, "engines": tuple(engine.name for engine in self.engines)}
        for what, names in lists.items():
            if not names or len(names) != len(set(names)) or not all(name.strip() for name in names):
                raise BundleError(f"manifest: {what}: expected distinct names, got {list(names)}; export again")
        if not self.golden:
            raise BundleError("manifest: golden: expected an image, got none; export again")
        _check_range("image_px", (self.image_px,), 1, MOST_PX)
        _check_range("tune_images and tune_positives", (self.tune_images, *self.tune_positives), 0, sys.maxsize)
        _check_length("tune_positives", self.tune_positives, len(self.labels))
        for engine in self.engines:
            _check_engine(engine, len(self.labels))
        for path in (*self.files, *self.golden, self.golden_expected):
            check_path(path)

    def check_thresholds(self) -> None:
        """Raise BundleError for an engine whose thresholds were tuned on another engine's scores."""
        for engine in self.engines:
            own = {name: self.files[name].sha256 for name in (engine.file, engine.graph)}
            if engine.thresholds_sha256 not in own.values():
                raise BundleError(
                    f"engine {engine.name}: thresholds: expected those of {' or '.join(own)}, got those of a file with "
                    f"sha256 {engine.thresholds_sha256[:12]}…; thresholds hold for one engine: export the bundle again"
                )

    def engine(self, name: str) -> EngineEntry:
        """The engine named `name`; BundleError lists the names."""
        for engine in self.engines:
            if engine.name == name:
                return engine
        raise BundleError(f"engine: expected one of {', '.join(e.name for e in self.engines)}, got {name!r}")

    @property
    def aim(self) -> dict[str, Any]:
        """What thresholds were tuned for, as in the recipe; empty where it does not say so."""
        export = self.recipe_content.get("export")
        thresholds = export.get("thresholds") if isinstance(export, dict) else None
        return thresholds if isinstance(thresholds, dict) else {}

    def to_json(self) -> str:
        """JSON, equal for equal manifests."""
        fields = dataclasses.asdict(self)
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read strictly: BundleError, with the path, for an unknown schema and missing, unknown or mistyped fields."""
        try:
            plain = text if isinstance(text, str) else text.decode("utf-8")
            data = json.loads(plain, object_pairs_hook=_without_duplicates)
            json.dumps(data, ensure_ascii=False, allow_nan=False).encode()  # refuses nan, 1e999 and lone surrogates
        except (ValueError, RecursionError) as cause:
            raise BundleError(f"manifest.json: expected JSON, got {cause}; copy the bundle again") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            got = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise BundleError(f"manifest.json: schema: expected {SCHEMA}, got {got!r}; use the tagger.pyz it came with")
        if "tune_pictures" in data:  # its name in older bundles
            data["tune_images"] = data.pop("tune_pictures")
        values = _fields(cls, data, "manifest.json")
        engines = enumerate(values.pop("engines"))
        values["engines"] = tuple(EngineEntry(**_fields(EngineEntry, e, f"engines.{i}")) for i, e in engines)
        files = values.pop("files").items()
        values["files"] = {path: FileEntry(**_fields(FileEntry, entry, f"files.{path}")) for path, entry in files}
        return cls(**values)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys, of which readers take the first or the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {', '.join(map(repr, twice))} twice in one object")
    return content


def check_path(path: str) -> None:
    """Raise BundleError unless `path` is relative, normalized and inside its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or "\\" in path or ":" in path or ".." in parts or "\0" in path:
        raise BundleError(f"manifest: files: expected a path inside the bundle, got {path!r}; do not use this bundle")


def _check_engine(engine: EngineEntry, labels: int) -> None:
    where = f"manifest: engine {engine.name}"
    for name in ("thresholds", "expected_precision", "expected_recall", "tune_ap"):
        values = getattr(engine, name)
        _check_length(f"engine {engine.name}: {name}", values, labels)
        _check_range(f"engine {engine.name}: {name}", values, 0, 1)
    _check_range(f"engine {engine.name}: tune_map", (engine.tune_map,), 0, 1)
    _check_range(f"engine {engine.name}: p50_ms", (engine.p50_ms,), 0, sys.maxsize)
    if not engine.name.isprintable() or not isinstance(engine.backend.get("kind"), str):
        raise BundleError(f"{where!r}: expected a printable name and a kind of backend, got {engine.backend}")
    if engine.name.startswith(".") or "/" in engine.name or "\\" in engine.name:  # files are called by it
        raise BundleError(f"{where}: expected a name without slashes, got {engine.name!r}; do not use this bundle")
    if engine.file not in engine.files:
        raise BundleError(f"{where}: expected its file {engine.file} among its files {list(engine.files)}")
    for path in (*engine.files, engine.graph):
        check_path(path)


def _check_length(what: str, values: tuple[Any, ...], labels: int) -> None:
    if len(values) != labels:
        raise BundleError(f"manifest: {what}: expected {labels}, one a label, got {len(values)}; export again")


def _check_range(what: str, values: tuple[float | None, ...], least: float, most: float) -> None:
    for value in values:
        if value is not None and not least <= value <= most:
            raise BundleError(f"manifest: {what}: expected {least} to {most}, got {value}; export again")


_SCALARS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def _fields(cls: Any, data: Any, where: str) -> dict[str, Any]:
    """The constructor's arguments from a JSON object, checked against the annotations of `cls`."""
    if not isinstance(data, dict):
        raise BundleError(f"{where}: expected an object, got {type(data).__name__}")
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    for name in data.keys() - known.keys():
        raise BundleError(f"{where}.{name}: expected one of {', '.join(known)}, got an unknown field")
    for name, entry in known.items():
        if name not in data and entry.metadata.get("optional"):
            continue
        if name not in data:
            raise BundleError(f"{where}.{name}: expected a value, got none; copy the bundle again")
        if not _is(data[name], str(entry.type)):
            raise BundleError(f"{where}.{name}: expected {entry.type}, got {type(data[name]).__name__}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _is(value: Any, annotation: str) -> bool:
    if annotation.endswith(" | None"):
        return value is None or _is(value, annotation[: -len(" | None")])
    if annotation.startswith("tuple["):
        item = annotation[len("tuple[") : -len(", ...]")]
        return isinstance(value, list) and all(_is(element, item) for element in value)
    if annotation.startswith("dict["):
        item = annotation[len("dict[str, ") : -1]
        return isinstance(value, dict) and all(_is(element, item) for element in value.values())
    allowed = _SCALARS.get(annotation)
    if allowed is None:  # Any, or a dataclass, which is checked when it is created
        return True
    return isinstance(value, allowed) and (annotation == "bool" or not isinstance(value, bool))
