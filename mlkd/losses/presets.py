"""Published totals as tuples of losses."""

from __future__ import annotations

from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL, Loss

# Yang et al. 2023 at their batch of 64 images: this total is theirs over 64.
L2D: tuple[Loss, ...] = (Bce(), LabelKL(weight=10 / 64), ClassAware(weight=100.0), InstanceAware(weight=1000.0))
