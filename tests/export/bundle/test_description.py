"""tagger.json: valid by its published schema, and enough to tag without this project."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from tests.helpers.bundles import shared_colours
from tests.helpers.once import Once

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/tagger.schema.json").read_text())


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return shared_colours(once)


def test_it_is_valid_by_its_schema_which_names_every_field(bundle: Path) -> None:
    content = json.loads((bundle / "tagger.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(content, _closed(SCHEMA))
    for wrong in (content | {"version": 2}, content | {"labels": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


def _closed(schema: Any) -> Any:
    """The schema, without fields that it does not name."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return closed | {key: _closed(value) for key, value in schema.items()}


def test_its_schema_allows_new_fields_but_no_other_step(bundle: Path) -> None:
    content = json.loads((bundle / "tagger.json").read_text(encoding="utf-8"))
    objects = [content, content["input"], content["output"], content["models"][0], content["golden"][0]]
    for item in objects:
        item["new"] = 1
    jsonschema.validate(content, SCHEMA)
    for step in ({"crop": "centre"}, {"resize": "nearest"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {"preprocessing": content["preprocessing"] | step}, SCHEMA)


def test_its_models_are_the_portable_engines_with_their_own_thresholds_and_golden_scores(bundle: Path) -> None:
    content, manifest = json.loads((bundle / "tagger.json").read_text(encoding="utf-8")), read_bundle(bundle)
    golden = Golden.read(bundle, manifest)
    assert [model["name"] for model in content["models"]] == ["onnxruntime-fp32", "openvino-fp32"]  # no plan
    for model in content["models"]:
        entry = manifest.engine(model["name"])
        assert (model["file"], tuple(model["thresholds"])) == (entry.file, entry.thresholds)
        assert model.get("compute") == entry.backend.get("compute")
        listed = [item["scores"][model["name"]] for item in content["golden"]]
        np.testing.assert_allclose(listed, golden.scores[model["name"]], atol=1e-6)
    assert content["labels"] == list(manifest.labels)


def test_a_program_that_reads_only_this_file_gets_the_golden_scores(bundle: Path) -> None:
    content = json.loads((bundle / "tagger.json").read_text(encoding="utf-8"))
    model, side = content["models"][0], content["input"]["shape"][1]
    session = onnxruntime.InferenceSession(str(bundle / model["file"]))
    for item in content["golden"]:
        image = Image.open(bundle / item["image"])  # one colour: orientation and the way of resizing change nothing
        image.draft("RGB", (2 * side, 2 * side))
        pixels = np.asarray(image.convert("RGB").resize((side, side)))
        (scores,) = session.run([content["output"]["name"]], {content["input"]["name"]: pixels[None]})
        np.testing.assert_allclose(scores[0], item["scores"][model["name"]], atol=0.02)
