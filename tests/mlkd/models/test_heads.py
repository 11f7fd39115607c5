"""The contract of every head, and each head's numbers from a plain loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlkd.core.labels import Labels
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import Head, LabelAttention, LabelDecoder, Pooled

DECODER = LabelDecoder(embedding=8, heads=2, feed_forward=4)
EVERY = [DECODER, LabelAttention(embedding=8), Pooled()]
BATCH, POSITIONS, CHANNELS, LABELS = 3, 5, 6, 4

every_head = pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)


def built(config: Any) -> nn.Module:
    torch.manual_seed(0)
    head: nn.Module = config.build(CHANNELS, LABELS)
    for name, parameter in head.named_parameters():
        if name == "label_bias":
            nn.init.normal_(parameter)  # all alike, they would hide a mistake
    return head.eval()


def tokens() -> Tensor:
    return torch.randn(BATCH, POSITIONS, CHANNELS, generator=torch.Generator().manual_seed(1))


def test_the_union_is_covered() -> None:
    assert {type(config) for config in EVERY} == set(get_args(Head))


@every_head
def test_a_logit_is_read_from_the_labels_own_embedding(config: Any) -> None:
    head = built(config)
    outputs = head(tokens())
    assert outputs.embeddings.shape == (BATCH, LABELS, CHANNELS if config.kind == "pooled" else 8)
    factor = torch.ones(()) if config.kind == "pooled" else head.label_weight
    for image in range(BATCH):
        for label in range(LABELS):
            expected = (outputs.embeddings[image] * factor)[label].sum() + head.label_bias[label]
            torch.testing.assert_close(outputs.logits[image, label], expected)


@every_head
def test_images_are_independent_and_positions_have_no_order(config: Any) -> None:
    head, given = built(config), tokens()
    whole = head(given)
    alone = head(given[1:2].flip(1))
    torch.testing.assert_close(alone.logits[0], whole.logits[1])
    torch.testing.assert_close(alone.embeddings[0], whole.embeddings[1])


@every_head
def test_label_maps_are_the_logits_of_each_position_on_its_own(config: Any) -> None:
    head, given = built(config), tokens()
    maps = head.label_maps(given)
    assert maps.shape == (BATCH, LABELS, POSITIONS)
    for position in range(POSITIONS):
        torch.testing.assert_close(maps[:, :, position], head(given[:, position : position + 1]).logits)


@every_head
def test_logits_and_embeddings_have_a_gradient_to_the_backbone(config: Any) -> None:
    head = built(config)
    for name in ("logits", "embeddings"):
        given = tokens().requires_grad_()
        getattr(head(given), name).square().sum().backward()
        assert given.grad is not None
        assert given.grad.abs().sum() > 0, name


@every_head
def test_a_checkpoint_rebuilds_the_head(config: Any, tmp_path: Path) -> None:
    model = Model(backbone="test_resnet", image_px=64, head=config)
    tagger = model.build(2).eval()
    checkpoint.save_model(tmp_path / checkpoint.BEST, tagger.state_dict(), model, Labels(("cat", "dog")), {})
    again = checkpoint.load_model(tmp_path)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(again(images).logits, tagger(images).logits)
    assert not again.training
    assert checkpoint.load_labels(tmp_path) == Labels(("cat", "dog"))


def test_decoder_attention_equals_the_loop_over_heads() -> None:
    head = built(DECODER)
    memory = head.project_tokens(tokens()).relu()
    queries = head.project_query(head.query_norm(head.queries))
    key, value = head.project_key(memory), head.project_value(memory)
    attended = torch.zeros(BATCH, LABELS, 8)
    for image in range(BATCH):
        for label in range(LABELS):
            for h in range(2):
                part = slice(4 * h, 4 * h + 4)
                weights = torch.softmax(key[image, :, part] @ queries[label, part] / 2, dim=0)
                attended[image, label, part] = weights @ value[image, :, part]
    torch.testing.assert_close(head._attend(queries, memory), head.project_out(attended))


@pytest.mark.parametrize("learned", [False, True])
def test_queries_are_frozen_unless_asked(learned: bool) -> None:
    head = LabelDecoder(embedding=8, heads=2, feed_forward=4, learned_queries=learned).build(6, 3)
    assert head.queries.requires_grad is learned


def test_label_attention_is_a_weighted_mean_of_positions() -> None:
    head = built(LabelAttention(embedding=8))
    weight, bias, maps = (
        tensor.detach().double().numpy()
        for tensor in (head.project_tokens.weight, head.project_tokens.bias, head.score_maps.weight)
    )
    embeddings = head(tokens()).embeddings.detach().numpy()
    for row, image in enumerate(tokens().double().numpy()):
        projected = [np.maximum(weight @ token + bias, 0) for token in image]
        for label in range(LABELS):
            heat = [np.exp(maps[label] @ token) for token in projected]
            mean = sum(h * token for h, token in zip(heat, projected, strict=True)) / sum(heat)
            np.testing.assert_allclose(embeddings[row, label], mean, rtol=0, atol=1e-5)


def test_pooled_is_a_mean_and_a_linear_layer() -> None:
    head = built(Pooled())
    outputs = head(tokens())
    mean = sum(tokens()[:, at] for at in range(POSITIONS)) / POSITIONS
    for image in range(BATCH):
        for label in range(LABELS):
            channel_by_channel = mean[image] * head.label_weight[label]
            torch.testing.assert_close(outputs.embeddings[image, label], channel_by_channel)
            torch.testing.assert_close(outputs.logits[image, label], channel_by_channel.sum() + head.label_bias[label])


@pytest.mark.parametrize(("field", "value"), [("embedding", 9), ("heads", 0), ("feed_forward", 0), ("dropout", 1.0)])
def test_ranges_are_checked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="head label_decoder"):
        replace(DECODER, **{field: value})
    with pytest.raises(ValueError, match="head label_attention: embedding: expected at least 1, got 0"):
        LabelAttention(embedding=0)


def test_logits_have_dropout_and_embeddings_do_not() -> None:
    head = built(replace(DECODER, dropout=0.5)).train()
    first, second = (head(tokens()) for _ in range(2))
    torch.testing.assert_close(first.embeddings, second.embeddings, rtol=0, atol=0)
    assert not torch.allclose(first.logits, second.logits)
    torch.testing.assert_close(first.embeddings, head.eval()(tokens()).embeddings, rtol=0, atol=0)
    first.embeddings.square().sum().backward()
    assert head.feed_forward[0].weight.grad.abs().sum() > 0
