from __future__ import annotations

import pytest
import torch
from torch import nn

from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder
from mlkd.training import optim
from mlkd.training.config import Training

MODEL = Model(backbone="test_efficientnet", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))


def training(**changes: object) -> Training:
    return Training(epochs=3, **{"learning_rate": 1e-2, "backbone_scale": 0.1, "weight_decay": 0.05, **changes})  # type: ignore[arg-type]


def test_biases_and_norms_have_no_decay_and_the_backbone_its_own_rate() -> None:
    tagger, adapters = MODEL.build(3), nn.ModuleDict({"some": nn.Linear(2, 3)})
    adam = optim.optimiser(tagger, adapters, training())
    of_backbone = {id(p) for p in tagger.backbone.parameters()}
    for group in adam.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0)
            assert group["peak"] == pytest.approx(1e-3 if id(parameter) in of_backbone else 1e-2)
    trained = sum(p.requires_grad for module in (tagger, adapters) for p in module.parameters())
    assert sum(len(group["params"]) for group in adam.param_groups) == trained


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_decays_through_the_gradient_and_adamw_does_not(kind: str) -> None:
    """With no other gradient, coupled Adam steps by its whole rate, decoupled AdamW by rate times decay."""
    tagger = MODEL.build(3)
    adam = optim.optimiser(tagger, nn.ModuleDict(), training(optimiser=kind, backbone_scale=1.0))
    weight: nn.Parameter = tagger.head.project_key.weight
    with torch.no_grad():
        weight.copy_(weight.sign() * 0.3)  # far from 0, where Adam's epsilon would show
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    adam.step()
    expected = before - 1e-2 * before.sign() if kind == "adam" else before * (1 - 1e-2 * 0.05)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("schedule", "first", "fifth"), [("one_cycle", 0.045, 0.168), ("cosine", 1 / 21, 5 / 21)])
def test_the_rate_rises_and_then_falls(schedule: str, first: float, fifth: float) -> None:
    shares = [optim.share_of_peak(schedule, step, 100, 0.2) for step in range(100)]
    assert shares[0] == pytest.approx(first, abs=2e-3)
    assert shares[4] == pytest.approx(fifth, abs=2e-3)  # on a cosine or on a line
    assert max(shares) == shares[20] == 1.0
    assert shares[:21] == sorted(shares[:21])
    assert shares[20:] == sorted(shares[20:], reverse=True)
    assert shares[60] == pytest.approx(0.5)
    assert shares[-1] < 0.01


def test_a_restored_state_has_the_strides_of_its_parameter() -> None:
    """The file has none, and the fused step of CUDA refuses a state whose strides differ."""
    tagger = MODEL.build(3)
    before, after = (optim.optimiser(tagger, nn.ModuleDict(), training()) for _ in range(2))
    for parameter in tagger.parameters():
        parameter.grad = torch.randn_like(parameter)
    before.step()
    stored = {name: value.contiguous() for name, value in optim.optimiser_tensors(before).items()}
    optim.restore_optimiser(after, stored)
    averages = [(p, after.state[p]["exp_avg"]) for p in tagger.parameters() if p.requires_grad]
    assert any(not parameter.is_contiguous() for parameter, _ in averages)
    for parameter, average in averages:
        assert average.stride() == parameter.stride()
        assert torch.equal(average, before.state[parameter]["exp_avg"])
        assert after.state[parameter]["step"] == 1


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_gradient_in_another_memory_format_gives_the_same_step(kind: str) -> None:
    """The fused step reads memory in order, whatever the strides; the plain one of torch is the oracle."""
    torch.manual_seed(0)
    ours, plain = MODEL.build(3), MODEL.build(3)
    plain.load_state_dict(ours.state_dict())
    fused = optim.optimiser(ours, nn.ModuleDict(), training(optimiser=kind))
    oracle = optim.optimiser(plain, nn.ModuleDict(), training(optimiser=kind))
    for group in oracle.param_groups:
        group["fused"] = False
    mixed = 0
    for _ in range(3):
        for parameter, other in zip(ours.parameters(), plain.parameters(), strict=True):
            gradient = torch.randn(parameter.shape)
            mixed += gradient.stride() != parameter.stride()
            parameter.grad, other.grad = gradient, gradient.clone()
        fused.step()
        oracle.step()
    assert mixed
    for parameter, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6)
