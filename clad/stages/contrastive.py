"""The contrastive loss of SimCLR, which stage 1 can add to the reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TEMPERATURE = 0.5


def nt_xent(a: Tensor, b: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy of finding each row's partner among all other rows: a scalar.

    Float (N, D) each, rows of one place are of two copies of one image; the logits are cosines over
    ``temperature``. Chen et al. 2020, arXiv 2002.05709, equation 1, averaged over all 2 N rows.
    """
    rows = F.normalize(torch.cat([a, b]), dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    cosines = (rows @ rows.T / temperature).masked_fill(itself, -torch.inf)
    partners = torch.arange(len(rows), device=rows.device).roll(len(a))
    return F.cross_entropy(cosines, partners)
