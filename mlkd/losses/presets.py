"""Published sums of losses."""

from __future__ import annotations

from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL, Loss

# Yang et al. 2023 at their batch size of 64: their total divided by 64.
L2D: tuple[Loss, ...] = (Bce(), LabelKL(weight=10 / 64), ClassAware(weight=100.0), InstanceAware(weight=1000.0))
