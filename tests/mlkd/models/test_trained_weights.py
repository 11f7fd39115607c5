"""Models that continue from a trained one, with other labels beside its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import Head, LabelAttention, LabelDecoder, Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.weights import TrainedWeights

HEADS: tuple[Head, ...] = (LabelDecoder(embedding=16, heads=2, feed_forward=8), LabelAttention(embedding=8), Pooled())
OLD = Labels(("owl", "cat", "dog"))
IMAGES = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def trained(folder: Path, model: Model) -> TaggerNet:
    """A model whose weights and statistics are no initial ones."""
    torch.manual_seed(3)
    tagger = model.build(len(OLD))
    with torch.no_grad():
        for parameter in tagger.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tagger.train()(IMAGES)
    checkpoint.save_model(folder / checkpoint.BEST, tagger.state_dict(), model, OLD, {})
    return tagger.eval()


def logits(tagger: TaggerNet) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = tagger.eval()(IMAGES).logits
    return result


def continued(folder: Path, model: Model) -> Model:
    return replace(model, weights=TrainedWeights(path=folder / checkpoint.BEST))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
@pytest.mark.parametrize("names", [("owl", "cat", "dog"), ("owl", "cat", "dog", "bee", "ant"), ("bee", "dog", "owl")])
def test_old_labels_have_the_scores_of_the_trained_model(tmp_path: Path, head: Head, names: tuple[str, ...]) -> None:
    model = Model(backbone="test_resnet", image_px=32, stages=3, head=head)
    before = logits(trained(tmp_path, model))
    torch.manual_seed(9)
    after = logits(continued(tmp_path, model).build_for(Labels(names)))
    for column, name in enumerate(names):
        if name in OLD.names:
            torch.testing.assert_close(after[:, column], before[:, OLD.index(name)], atol=1e-5, rtol=0)
        else:
            assert not torch.isclose(after[:, [column]], before, atol=1e-3).all(0).any()


def test_another_model_is_refused(tmp_path: Path) -> None:
    model = Model(backbone="test_resnet", image_px=32, head=HEADS[1])
    trained(tmp_path, model)
    for other in (replace(model, head=HEADS[2]), replace(model, head=LabelAttention(embedding=4))):
        with pytest.raises(
            ValueError, match=r"best.safetensors: expected the tensors of this model, got another in head"
        ):
            continued(tmp_path, other).build_for(OLD)


def test_the_licence_is_that_of_the_first_weights() -> None:
    weights = TrainedWeights(path=Path("best.safetensors"), first="first weights of a: Apache-2.0")
    assert weights.licence("a") == "first weights of a: Apache-2.0"
    assert TrainedWeights(path=Path("best.safetensors")).licence("a").endswith("licence not stated")
