"""Losses for multi-label distillation: each the sum over labels and the mean over images."""

from mlkd.losses.base import Outputs
from mlkd.losses.bce import Bce
from mlkd.losses.class_aware import ClassAware
from mlkd.losses.instance_aware import InstanceAware
from mlkd.losses.label_kl import LabelKL

Loss = Bce | LabelKL | ClassAware | InstanceAware

__all__ = ["Bce", "ClassAware", "InstanceAware", "LabelKL", "Loss", "Outputs"]
