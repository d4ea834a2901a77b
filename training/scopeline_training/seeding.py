"""Seeding: one seed for every source of chance."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Weights follow from torch's state; Python's and numpy's are set for libraries that ask them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
