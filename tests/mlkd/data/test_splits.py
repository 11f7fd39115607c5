from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mlkd.data.base import Sample, hash_fraction
from mlkd.data.splits import check_val_share, split_by_hash, split_val, train_val

THREE = ((0.70, "train"), (0.80, "val"), (1.0, "test"))


def sample(name: str, *positives: int, group: str = "") -> Sample:
    return Sample(name, Path(name), positives, group or name)


def random_images(count: int, seed: int, rates: list[float]) -> list[Sample]:
    rng = np.random.default_rng(seed)
    positive = rng.random((count, len(rates))) < rates
    return [sample(f"{seed}/{number}", *map(int, np.flatnonzero(row))) for number, row in enumerate(positive)]


def positives(samples: list[Sample]) -> Counter[int]:
    return Counter(label for image in samples for label in image.positives)


def in_val(name: str) -> bool:
    return hash_fraction(name) < 0.15


def test_common_labels_leave_it_to_the_hash() -> None:
    samples = random_images(400, 0, [0.5, 0.3])
    splits = split_by_hash(samples, train_val(0.15))
    assert splits["val"] == [image for image in samples if hash_fraction(image.name) < 0.15]
    assert splits["train"] == [image for image in samples if hash_fraction(image.name) >= 0.15]
    three = split_by_hash(samples, THREE)
    assert three["train"] == [image for image in samples if hash_fraction(image.name) < 0.7]
    assert three["test"] == [image for image in samples if hash_fraction(image.name) >= 0.8]


@pytest.mark.parametrize("seed", range(12))
def test_rare_labels_are_in_val_and_mostly_in_train(seed: int) -> None:
    rates = [0.3, *(number / 300 for number in range(3, 13))]
    samples = random_images(300, seed, rates)
    total = positives(samples)
    splits = split_by_hash(samples, train_val(0.05))
    in_val, in_train = positives(splits["val"]), positives(splits["train"])
    by_hash = positives([image for image in samples if hash_fraction(image.name) < 0.05])
    assert any(by_hash[label] == 0 for label in total)  # so that there is something to do
    for label, count in total.items():
        if count >= 3:
            assert in_val[label] >= (2 if count >= 6 else 1)
            assert in_train[label] > count / 2


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 9, 19])
def test_with_a_test_split_every_split_has_a_rare_label(count: int) -> None:
    for seed in range(20):
        rest = random_images(60, seed, [0.5])
        samples = [sample(f"{seed}/rare{number}", 1) for number in range(count)] + rest
        splits = split_by_hash(samples, THREE)
        in_each = {split: positives(splits[split])[1] for split in splits}
        assert min(in_each.values()) >= 1
        assert in_each["val"] >= (2 if count >= 6 else 1)
        assert in_each["train"] >= min(count // 2 + 1, count - (3 if count >= 6 else 2))
        assert sum(in_each.values()) == count


@pytest.mark.parametrize("count", [6, 12, 40])
def test_select_and_tune_both_have_a_single_label(count: int) -> None:
    """A single label, defect or not, on 100 images."""
    too_few = 0
    for seed in range(100):
        names = [f"{seed}/{number}" for number in range(100)]
        samples = [sample(name, *([0] * (number < count))) for number, name in enumerate(names)]
        by_hash = [image for image in samples[:count] if 0.7 <= hash_fraction(image.name) < 0.8]
        too_few += len(by_hash) < 2
        val = split_by_hash(samples, THREE)["val"]
        targets = np.array([[len(image.positives)] for image in val], dtype=np.uint8)
        chosen = split_val(targets, [image.name for image in val])
        assert targets[chosen].any()
        assert targets[~chosen].any()
    assert too_few  # so that there is something to do


def test_the_second_in_val_is_not_taken_from_a_rarer_label() -> None:
    """Of label 3 val has one in six; each of the other five is one of the two that train has of labels 0, 1 or 2."""
    names = list(map(str, range(300)))
    inside = [sample(name, *labels) for name, labels in zip(filter(in_val, names), [(0, 1, 3), (2,)], strict=False)]
    labels = [(0, 3), (0, 3), (1, 3), (1, 3), (2, 3), (2,), *[()] * 10]
    outside = [sample(name, *of) for name, of in zip((n for n in names if not in_val(n)), labels, strict=False)]
    assert split_by_hash([*inside, *outside], train_val(0.15)) == {"val": inside, "train": outside}
    more = split_by_hash([*inside, *outside, sample("300", 3)], train_val(0.15))  # a seventh that no rarer label needs
    assert positives(more["val"])[3] == 2


def test_a_label_in_val_only_by_hash_goes_back() -> None:
    """Of five names that all hash into val, most are moved to train."""
    names = [name for name in map(str, range(300)) if hash_fraction(name) < 0.15][:5]
    others = [name for name in map(str, range(300)) if hash_fraction(name) >= 0.15]
    samples = [sample(name, 1) for name in names] + [sample(name, 0) for name in others]
    splits = split_by_hash(samples, train_val(0.15))
    assert positives(splits["train"])[1] == 3
    moved = {image.name for image in splits["train"]} & set(names)
    assert moved == set(sorted(names, key=hash_fraction)[-3:])  # those nearest to the bound


def test_moves_are_few_and_the_nearest() -> None:
    names = sorted((name for name in map(str, range(300)) if hash_fraction(name) >= 0.15), key=hash_fraction)
    rare = names[5::40][:4]
    splits = split_by_hash(
        [sample(name, *([1] if name in rare else [0])) for name in map(str, range(300))], train_val(0.15)
    )
    by_hash = {name for name in map(str, range(300)) if hash_fraction(name) < 0.15}
    assert {image.name for image in splits["val"]} == by_hash | {rare[0]}


def test_stays_when_images_are_added_and_in_any_order() -> None:
    samples = random_images(300, 3, [0.4, 0.2, 0.1])
    few, many = split_by_hash(samples[:200], THREE), split_by_hash(samples[::-1], THREE)
    for split, images in few.items():
        assert {image.name for image in images} <= {image.name for image in many[split]}


def test_groups_stay_whole() -> None:
    samples = [sample(f"{number}", number % 7, group=f"group {number // 4}") for number in range(200)]
    splits = split_by_hash(samples, THREE)
    owner = {image.group: split for split, images in splits.items() for image in images}
    assert all(owner[image.group] == split for split, images in splits.items() for image in images)
    assert sum(map(len, splits.values())) == 200


def test_a_handful_of_images_without_labels_gives_two_to_val() -> None:
    names = [name for name in map(str, range(300)) if hash_fraction(name) >= 0.3][:12]
    splits = split_by_hash([sample(name) for name in names], train_val(0.15))
    assert {image.name for image in splits["val"]} == set(sorted(names, key=hash_fraction)[:2])


@pytest.mark.parametrize("share", [0.01, 0.51, float("nan")])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=r"val_share: expected 0.05 to 0.5, got"):
        check_val_share(share)


def test_halves_of_val_share_every_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 12)) < np.linspace(0.02, 0.5, 12)).astype(np.uint8)
    targets[:2, 0] = 1
    keys = np.array([f"{number:03d}" for number in range(200)])
    in_select = split_val(targets, list(keys))
    assert 85 <= in_select.sum() <= 115
    positives = np.stack([targets[in_select].sum(0), targets[~in_select].sum(0)])
    assert (positives > 0).all()
    rare = targets.sum(0).argmin()
    assert np.ptp(positives[:, rare]) <= 1
    order = rng.permutation(200)
    np.testing.assert_array_equal(in_select[order], split_val(targets[order], list(keys[order])))


def test_equal_keys_stay_in_one_half_of_val() -> None:
    in_select = split_val(np.ones((8, 1), dtype=np.uint8), ["a", "b", "a", "c", "b", "d", "a", "d"])
    assert in_select[0] == in_select[2] == in_select[6]
    assert in_select[1] == in_select[4]
    assert in_select[5] == in_select[7]
    with pytest.raises(ValueError, match="val: expected at least 2 different images to split in two, got 1"):
        split_val(np.ones((2, 1), dtype=np.uint8), ["a", "a"])
