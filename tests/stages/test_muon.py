"""Muon: what a step does to a kernel, by hand and by singular values, and to the rest nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.checkpoints import CheckpointFolder
from clad.runtime import Runtime
from clad.stages.classifier import Classifier
from clad.stages.muon import QUINTIC, ROUNDS, STEP, Muon, orthogonalised


def scalar(value):
    """What the rounds make of one singular value."""
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        value = a * value + b * value**3 + c * value**5
    return value


def test_singular_values_by_hand_and_directions_kept():
    # 3, 4 and no more: of length 5, so the rounds begin at 0.6 and 0.8
    matrix = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    expected = [[scalar(0.6), 0.0, 0.0], [0.0, scalar(0.8), 0.0]]
    turned, longer = orthogonalised(torch.stack([matrix, 9 * matrix]))
    assert turned.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]
    assert longer.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]
    assert orthogonalised(matrix.mT[None])[0].tolist() == turned.mT.tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 40), st.sampled_from([1e-6, 1, 1e6]))
def test_whatever_the_shape_and_scale_it_is_nearly_orthogonal(seed, m, n, scale):
    generator = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(m, n, generator=generator), full_matrices=False)
    k = min(m, n)
    values = torch.logspace(0, -1.5, k)  # the largest thirty times the smallest
    (found,) = orthogonalised((scale * u @ torch.diag(values) @ v)[None])
    inner = u.mT @ found @ v.mT
    assert 0.6 < torch.linalg.svdvals(found).min() <= torch.linalg.svdvals(found).max() < 1.3
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 0.01


def test_what_has_no_direction_gets_none():
    rows = torch.arange(1.0, 41.0).expand(12, 40)  # of rank 1
    turned, still = orthogonalised(torch.stack([rows, torch.zeros(12, 40)]))
    values = torch.linalg.svdvals(turned)
    assert 0.6 < values[0] < 1.3
    assert values[1] < 0.01
    assert torch.equal(still, torch.zeros(12, 40))


def optimizer_of(kernel, other, lr=0.001):
    return Muon([other], [kernel], lr=lr, weight_decay=0.1, fused=True)


def test_a_kernel_turns_by_its_share_and_keeps_its_length():
    kernel = torch.nn.Parameter(torch.zeros(2, 2, 1, 1))
    kernel.data[:, :, 0, 0] = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    other = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizer_of(kernel, other)
    # orthogonal to the kernel, and of equal singular values: it is its own direction
    kernel.grad = torch.tensor([[0.0, 0.1], [-0.1, 0.0]])[:, :, None, None]
    other.grad = torch.ones(1)
    optimizer.step()
    share = STEP * 0.001
    length = np.hypot(1, share)
    expected = [2 / length, -2 * share / length, 2 * share / length, 2 / length]
    assert kernel.detach().flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert kernel.grad is None
    # AdamW's first step: decay, then its rate
    assert other.item() == pytest.approx(1 - 0.001 * 0.1 - 0.001, abs=1e-6)


def test_a_gradient_of_zeros_or_none_leaves_a_kernel():
    kernel, other = (torch.nn.Parameter(torch.ones(2, 3, 1, 1)) for _ in range(2))
    optimizer = optimizer_of(kernel, other)
    optimizer.step()
    kernel.grad = torch.zeros_like(kernel)
    optimizer.step()
    assert torch.allclose(kernel, torch.ones(2, 3, 1, 1))


def stage(optimizer="muon", network="resnet8"):
    settings = {"network": network, "stem": "small-stride", "width": 16}
    return Classifier(epochs=4, batch_size=10, optimizer=optimizer, rounds=1, **settings)


@pytest.mark.parametrize(
    ("network", "convolutions"),
    [("resnet8", 2 * 3), ("resnet18", 2 * 8 + 3)],  # of the blocks, and three shortcuts
)
def test_the_classifier_hands_it_all_convolutions_but_the_first(
    network, convolutions, images, kinds, runtime
):
    found = stage(network=network).fit(images, kinds, 3, runtime)
    optimizer = found._make_optimizer(found.network_)
    others, kernels = (group["params"] for group in optimizer.param_groups)
    assert len(others) + len(kernels) == len(list(found.network_.parameters()))
    assert len(kernels) == convolutions
    assert all(kernel.ndim == 4 for kernel in kernels)
    assert [weight.ndim for weight in others].count(4) == 1
    assert any(weight is found.network_.trunk[0].weight for weight in others)
    assert found.losses_[-1] < found.losses_[0]
    assert found.losses_ != stage("adamw", network).fit(images, kinds, 3, runtime).losses_


class KilledError(Exception):
    pass


def test_an_interrupted_training_ends_at_the_same_weights(images, kinds, tmp_path, monkeypatch):
    whole = stage().fit(images, kinds, 3, Runtime())
    steps, step = [], Muon.step

    def until_killed(self, closure=None):
        steps.append(1)
        if len(steps) == 7:
            raise KilledError
        return step(self, closure)

    checkpoints = CheckpointFolder(tmp_path, "key", every=0)
    with monkeypatch.context() as patched:
        patched.setattr(Muon, "step", until_killed)
        with pytest.raises(KilledError):
            stage().fit(images, kinds, 3, Runtime(), checkpoints)
    resumed = stage().fit(images, kinds, 3, Runtime(), checkpoints)
    assert resumed.losses_ == whole.losses_
    for one, other in zip(resumed.network_.parameters(), whole.network_.parameters(), strict=True):
        assert torch.equal(one, other)


def kernels_and_optimizer(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shapes = (4, 3, 3, 3), (4, 3, 3, 3), (3, 5, 1, 1)
    drawn = [torch.randn(2, *shape, generator=generator).to(device) for shape in shapes]
    kernels = [torch.nn.Parameter(both[0]) for both in drawn]
    for kernel, both in zip(kernels, drawn, strict=True):
        kernel.grad = both[1]
    other = torch.nn.Parameter(torch.ones(1, device=device))
    return kernels, Muon([other], kernels, lr=0.001, weight_decay=0.1, fused=True)


def test_kernels_of_one_shape_turn_together_as_each_alone():
    alone, optimizer = kernels_and_optimizer()
    optimizer.step()
    together, optimizer = kernels_and_optimizer()
    with torch.no_grad():
        optimizer._turn(together[:2], optimizer.param_groups[1]["lr"])
    assert not torch.equal(*alone[:2])
    torch.testing.assert_close(together[:2], alone[:2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_turns_kernels_as_a_cpu_does():
    here, optimizer = kernels_and_optimizer()
    optimizer.step()
    there, optimizer = kernels_and_optimizer("cuda")
    optimizer.step()
    moved = [kernel.cpu() for kernel in there]
    torch.testing.assert_close(moved, list(here), atol=1e-4, rtol=1e-4)
