from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.labels import Labels
from mlkd.data.audit import audit
from mlkd.data.base import Finding, Listing, Sample


def samples(*positives: tuple[int, ...]) -> list[Sample]:
    return [Sample(f"{number}", Path(f"{number}.jpg"), labels, f"{number}") for number, labels in enumerate(positives)]


def listing(*names: str, **fields: Any) -> Listing:
    return Listing(Labels(names), {}, "images of a test", **fields)


def claims(audited: dict[str, Any]) -> dict[str, str]:
    return {item["claim"]: item["numbers"] for item in audited["findings"]}


def test_every_image_of_a_label_is_kept_or_left_out_for_a_reason() -> None:
    source = listing("cat", "dog", declared={"cat": 4, "dog": 3}, left_out={"missing file": [(0,), (0, 1)]})
    kept = samples((0,), (1,), (), (0,))
    audited = audit(source, kept, {"unreadable image": [(1,), ()]}, ())
    assert audited["labels"] == {
        "cat": {"source": 4, "kept": 2, "dropped": {"missing file": 2}},
        "dog": {"source": 3, "kept": 1, "dropped": {"missing file": 1, "unreadable image": 1}},
    }
    assert audited["left_out"] == {"missing file": 2, "unreadable image": 2}
    assert claims(audited) == {
        "Some images were left out.": "4 of 8: 2 missing file, 2 unreadable image.",
        "Some labels have lost many of their images.": "Kept: dog 1 of 3, cat 2 of 4.",
        "Many images have no label.": "1 of 4 (25%). They count as negative for each label.",
    }


def test_labels_that_are_not_accounted_for_are_an_error() -> None:
    source = listing("cat", declared={"cat": 3})
    with pytest.raises(ValueError, match=r"expected to read all 3 images of label 'cat', got 2 \(2 kept, left out: no"):
        audit(source, samples((0,), (0,), ()), {}, ())


def test_a_source_without_declared_counts() -> None:
    audited = audit(listing("cat", skipped={"a": "too small"}), samples((0,), (0,)), {}, [Finding("Odd.", "2.")])
    assert audited["labels"]["cat"] == {"source": 2, "kept": 2, "dropped": {}}
    assert audited["left_out"] == {"other reason": 1}
    assert claims(audited)["Odd."] == "2."
    composed = listing("cat", skipped={"a cut-out": "too small"}, composed=True)
    assert audit(composed, samples((0,), (0,)), {}, ())["left_out"] == {}


def test_notes_are_apart_from_problems() -> None:
    """Copies that are left out are no problem; an unreadable image is."""
    kept, note = samples((0,), ()), Finding("Two are alike.", "3.", note=True)
    audited = audit(listing("cat"), kept, {"copy in another split": [()]}, [note, Finding("Odd.", "2.")])
    assert audited["notes"] == [
        {"claim": "Two are alike.", "numbers": "3."},
        {"claim": "Some images were left out.", "numbers": "1 of 3: 1 copy in another split."},
    ]
    assert list(claims(audited)) == ["Odd.", "Many images have no label."]
    left_out = {"copy in another split": [()], "unreadable image": [()]}
    assert "Some images were left out." in claims(audit(listing("cat"), kept, left_out, ()))


def test_similar_names_are_reported() -> None:
    names = ("Red Cafe\u0301", "red  caf\u00e9", "Straße", "STRASSE", "tree")
    audited = audit(listing(*names), samples(*((label,) for label in range(5))), {}, ())
    numbers = claims(audited)["Some labels differ only in case, spaces or Unicode form."]
    assert numbers == "'Red Cafe\u0301' = 'red  caf\u00e9', 'Straße' = 'STRASSE'. Each counts as a separate label."


def test_labels_on_every_image_or_on_none_are_reported() -> None:
    named = audit(listing("photo", "cat", "owl"), samples((0, 1), (0,), (0,)), {}, ())
    assert claims(named) == {
        "Some labels have no image.": "owl.",
        "Some labels are on every image, so no model can learn them.": "photo.",
    }


def test_unlabelled_images_are_not_untagged() -> None:
    images = samples((0,), (), ())
    images[1:] = [replace(images[1], unknown=(0,)), replace(images[2], labelled=False)]
    assert claims(audit(listing("cat"), images, {}, ())) == {}


def test_long_lists_of_names_are_shortened() -> None:
    names = [f"label {number}" for number in range(13)]
    numbers = claims(audit(listing("cat", *names), samples((0,), (0, 1), ()), {}, ()))["Some labels have no image."]
    assert numbers.endswith("label 10 and 2 more.")
