"""NT-Xent against numbers worked out by hand."""

import math

import pytest
import torch

from clad.stages.contrastive import nt_xent


def test_two_pairs_by_hand():
    """Cosines of each row: 1 with its partner, 0 with the two others; the temperature is 1/2."""
    rows = torch.eye(2)
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert nt_xent(rows, 3 * rows).item() == pytest.approx(expected)  # length does not count


def test_partners_that_are_opposite_cost_most():
    rows = torch.eye(2)
    expected = -math.log(math.exp(-1) / (math.exp(-1) + 2))
    assert nt_xent(rows, -rows, temperature=1.0).item() == pytest.approx(expected)


def test_both_copies_are_asked_alike():
    a, b = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    assert nt_xent(a, b).item() == pytest.approx(nt_xent(b, a).item())
