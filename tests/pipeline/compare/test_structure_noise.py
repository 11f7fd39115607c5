"""Correlations of the distances that structural losses compare."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import load_model
from pipeline.recipe.schema import Recipe
from scripts import structure_noise
from tests.helpers import taggers


def test_distances_by_hand() -> None:
    """Three images of the first label at 0, 1 and 3 on a line; the only image with three labels has them at 0, 4, 8."""
    embeddings, positive = np.zeros((4, 3, 1)), np.zeros((4, 3), bool)
    embeddings[:3, 0, 0], positive[:3, 0] = (0, 1, 3), True
    embeddings[3, :, 0], positive[3] = (0, 4, 8), True
    positive[3, 0] = False
    assert structure_noise.distances(embeddings[:3], positive[:3])["class_aware"] == pytest.approx([0.5, 1.5, 1.0])
    positive[:, :] = [[False] * 3] * 3 + [[True] * 3]
    assert structure_noise.distances(embeddings, positive)["instance_aware"] == pytest.approx([0.75, 1.5, 0.75])


def test_a_student_agrees_with_itself_as_teacher_and_less_with_its_own_dropout(recipe: Recipe, taught: Path) -> None:
    tagger = load_model(recipe.ready_teachers[0].folder)
    train = read_split(taught / "data", "train")
    found = structure_noise.measure(tagger, train, taught / "teacher_outputs")["class_aware"]
    assert found["student and teacher"] > 0.99  # outputs are stored in float16
    assert found["two dropout masks"] < 0.9
    assert found["with dropout, and teacher"] < 0.95


def test_embeddings_are_those_of_the_head_and_two_masks_differ() -> None:
    tagger = taggers.MODEL.build(3).eval()
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        clean, first, second = structure_noise.embed(tagger, images)
        assert np.array_equal(clean, tagger(images).embeddings.double().numpy())
    assert not np.array_equal(first, second)
