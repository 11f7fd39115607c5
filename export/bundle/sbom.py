"""The software bill of materials of a bundle, in CycloneDX 1.6 (ECMA-424): what is in it, and what it runs on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.bundle.manifest import Manifest
from mlkd.core.files import sha256_of

SBOM = "sbom.cdx.json"
PACKAGES = {"numpy": ("numpy",), "pillow": ("pillow",)}  # that every device needs: name on PyPI, tested versions
RUNTIMES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt-rtx-cu13",),
}  # of a backend: its package, then others that hold the same runtime


def list_components(manifest: Manifest, sources: Mapping[str, Path]) -> str:
    """The content of sbom.cdx.json; equal for equal arguments.

    Args:
        manifest: Of the bundle.
        sources: Its models and engines by their path in the bundle.  Those are components with their SHA-256; the
            packages that a device has to have are components with the version that was tested, and are not in it.
    """
    kinds = list(dict.fromkeys(str(entry.backend["kind"]) for entry in manifest.engines))
    packages = {**PACKAGES, **{kind: RUNTIMES[kind] for kind in kinds if kind in RUNTIMES}}
    needed = [_package(manifest, names, required=kind in PACKAGES) for kind, names in packages.items()]
    files = sorted({file for entry in manifest.engines for file in (entry.graph, *entry.files)} & sources.keys())
    models = [_model(file, sources[file], manifest) for file in files]
    program = {
        "type": "application",
        "bom-ref": "tagger.pyz",
        "name": "tagger.pyz",
        "version": manifest.versions["edge-tagger"],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "bundle",
                "name": f"edge-tagger-{manifest.recipe}",
                "version": manifest.versions["edge-tagger"],
                "description": f"Multi-label image tagger, {len(manifest.labels)} labels, {manifest.image_px} px",
            }
        },
        "components": [program, *models, *needed],
        "dependencies": [
            {"ref": "bundle", "dependsOn": ["tagger.pyz", *(model["bom-ref"] for model in models)]},
            {"ref": "tagger.pyz", "dependsOn": [package["bom-ref"] for package in needed]},
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=1, ensure_ascii=False) + "\n"


def _package(manifest: Manifest, names: tuple[str, ...], *, required: bool) -> dict[str, Any]:
    """A package from PyPI: one of several runtimes is enough, so none of them is required."""
    tested = next((manifest.versions[name] for name in names if name in manifest.versions), None)
    purl = f"pkg:pypi/{names[0]}" + (f"@{tested}" if tested else "")
    version = {"version": tested} if tested else {}
    return {
        "type": "library", "bom-ref": purl, "name": names[0], **version, "purl": purl,
        "scope": "required" if required else "optional",
    }  # fmt: skip


def _model(file: str, source: Path, manifest: Manifest) -> dict[str, Any]:
    licences = [{"license": {"name": text}} for text in dict.fromkeys((*manifest.weights, *manifest.licences))]
    return {
        "type": "machine-learning-model",
        "bom-ref": file,
        "name": file,
        "version": manifest.recipe_hash[:12],
        "hashes": [{"alg": "SHA-256", "content": sha256_of(source)}],
        "licenses": licences,
    }
