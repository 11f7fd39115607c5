"""The bill of materials names what is in a bundle with its hash, and what a device needs for it."""

import json
import re
from dataclasses import replace

from export.bundle.bundle import read_bundle
from export.bundle.sbom import list_components
from tests.helpers import bundles
from tests.helpers.once import Once

VERSIONS = {"edge-tagger": "1.2.3", "numpy": "2.4.6", "pillow": "13.0.0", "onnxruntime-gpu": "1.31.1"}


def test_models_have_their_hashes_and_packages_the_versions_that_were_tested(once: Once) -> None:
    folder = bundles.shared_colours(once)
    manifest = replace(read_bundle(folder), versions=VERSIONS)
    sources = {path: folder / path for path in manifest.files}
    text = list_components(manifest, sources)
    content = json.loads(text)
    assert (content["bomFormat"], content["specVersion"], content["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", content["serialNumber"])
    by_ref = {component["bom-ref"]: component for component in content["components"]}
    models = {ref: one for ref, one in by_ref.items() if one["type"] == "machine-learning-model"}
    expected = {file for entry in manifest.engines for file in (entry.graph, *entry.files)}
    assert models.keys() == expected
    for file, model in models.items():
        assert model["hashes"] == [{"alg": "SHA-256", "content": manifest.files[file].sha256}]
        assert model["licenses"]
    libraries = {one["name"]: one for one in by_ref.values() if one["type"] == "library"}
    assert libraries.keys() == {"numpy", "pillow", "onnxruntime", "openvino", "tensorrt-rtx-cu13"}
    assert [libraries[name]["scope"] for name in ("numpy", "onnxruntime")] == ["required", "optional"]
    assert (libraries["numpy"]["version"], libraries["numpy"]["purl"]) == ("2.4.6", "pkg:pypi/numpy@2.4.6")
    assert libraries["onnxruntime"]["purl"] == "pkg:pypi/onnxruntime@1.31.1", "of the package with the same runtime"
    assert "version" not in libraries["openvino"]
    assert by_ref["tagger.pyz"]["version"] == "1.2.3"
    refs = {ref for one in content["dependencies"] for ref in one["dependsOn"]}
    assert refs == by_ref.keys()
    assert list_components(manifest, sources) == text


def test_paths_of_the_machine_are_not_in_it(once: Once) -> None:
    folder = bundles.shared_colours(once)
    manifest = replace(read_bundle(folder), versions=VERSIONS)
    assert str(folder) not in list_components(manifest, {path: folder / path for path in manifest.files})
