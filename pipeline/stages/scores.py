"""Stage scores: the float scores of a finalist of a search, with and without a teacher."""

from __future__ import annotations

from pipeline.recipe.schema import Recipe
from pipeline.references import other_finalists, scores
from pipeline.runner.stage import Context


def run(recipe: Recipe, context: Context) -> None:
    """Score the test set with the float32 models."""
    scores.write(recipe, context, other_finalists.MODELS)
