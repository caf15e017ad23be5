"""The training loop by hand: rates, batches, means, and what every fault leaves behind."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clad.checkpoints import CheckpointFolder
from clad.errors import FitError
from clad.runtime import Runtime
from clad.training import learning_rate, train


class Point(nn.Module):
    """One weight, from 1."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))


def go(loss, n=6, module=None, optimizer=None, **options):
    module = module or Point()
    optimizer = optimizer or torch.optim.SGD(module.parameters(), lr=0.1)
    options = {"epochs": 3, "batch_size": 2, "runtime": Runtime(), **options}
    return module, train("toy", module, optimizer, loss, n, **options)


def test_learning_rates_by_hand():
    assert learning_rate("constant", 0.3, 0.0) == learning_rate("constant", 0.3, 1.0) == 0.3
    assert learning_rate("one-cycle", 2.0, 0.0) == pytest.approx(0.2)
    assert learning_rate("one-cycle", 2.0, 0.05) == pytest.approx(1.1)
    assert learning_rate("one-cycle", 2.0, 0.1) == pytest.approx(2.0)
    assert learning_rate("one-cycle", 2.0, 0.55) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert learning_rate("one-cycle", 2.0, 1.0) == pytest.approx(0.02)


@given(st.floats(0, 1), st.floats(0, 1))
def test_one_cycle_rises_then_falls(a, b):
    low, high = sorted((a, b))
    before, after = learning_rate("one-cycle", 1.0, low), learning_rate("one-cycle", 1.0, high)
    assert 0.01 <= before <= 1.0
    if high <= 0.1:
        assert before <= after
    if low >= 0.1:
        assert before >= after


def test_the_schedule_reaches_the_optimizer():
    seen = []
    module = Point()
    optimizer = torch.optim.SGD(module.parameters(), lr=2.0)

    def loss(positions, generator):
        seen.append(optimizer.param_groups[0]["lr"])
        return 0.0 * module.w.sum()

    go(loss, n=4, module=module, optimizer=optimizer, epochs=5, schedule="one-cycle")
    steps = np.arange(10) / 10  # two batches an epoch, five epochs
    assert seen == pytest.approx([learning_rate("one-cycle", 2.0, s) for s in steps])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 45))
def test_every_item_once_an_epoch_in_batches_of_nearly_one_size(n, batch_size):
    batches = []
    module = Point()

    def loss(positions, generator):
        batches.append(positions)
        return module.w.sum()

    go(loss, n=n, module=module, batch_size=batch_size, epochs=2)
    half = len(batches) // 2
    assert half == max(1, min(math.ceil(n / batch_size), n // 2))
    for epoch in (batches[:half], batches[half:]):
        assert sorted(np.concatenate(epoch)) == list(range(n))
        sizes = [len(batch) for batch in epoch]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= max(batch_size, 3)
        assert min(sizes) >= min(n, 2)  # batch norm has nothing to say of one image


def orders(seed):
    seen = []
    module = Point()

    def loss(positions, generator):
        seen.append((tuple(positions), int(torch.randint(10**9, (), generator=generator))))
        return module.w.sum()

    go(loss, n=20, module=module, batch_size=20, runtime=Runtime(seed=seed))
    return seen


def test_order_and_noise_are_a_function_of_seed_and_epoch():
    assert orders(0) == orders(0)
    for part in (0, 1):  # the order, the noise: three epochs of two seeds, each its own
        assert len({seen[part] for seen in orders(0) + orders(1)}) == 6


def test_an_epochs_loss_is_the_mean_over_its_items():
    module = Point()

    def loss(positions, generator):  # 5 items in batches of 3 and 2: losses 3 and 2
        return len(positions) + 0.0 * module.w.sum()

    _, losses = go(loss, n=5, module=module, batch_size=3, epochs=2)
    assert losses == pytest.approx([(3 * 3 + 2 * 2) / 5] * 2)


def test_gradient_descent_by_hand():
    module = Point()
    _, losses = go(lambda *_: (module.w**2).sum(), n=2, module=module, epochs=2)
    assert losses == pytest.approx([1.0, 0.64])  # w = 1, then 1 - 0.1 * 2
    assert module.w.item() == pytest.approx(0.64)
    assert not module.training


def test_before_epoch_can_end_training():
    asked = []

    def enough(epoch):
        asked.append(epoch)
        return epoch == 2

    module = Point()
    _, losses = go(lambda *_: module.w.sum(), module=module, epochs=5, before_epoch=enough)
    assert asked == [0, 1, 2]
    assert len(losses) == 2
    assert not module.training


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_stage_epoch_and_step(tmp_path, bad):
    steps = []
    module = Point()

    def loss(positions, generator):
        steps.append(1)
        return module.w.sum() * (bad if len(steps) == 8 else 1.0)  # three steps an epoch

    folder = CheckpointFolder(tmp_path, "run", every=0)
    said = rf"toy: the loss became {bad} in epoch 3, step 2; lower toy\.learning_rate"
    with pytest.raises(FitError, match=said):
        go(loss, module=module, checkpoints=folder)
    tensors, progress = folder.load("toy")
    assert len(progress["losses"]) == 2
    assert tensors["module.w"].item() == pytest.approx(1 - 6 * 0.1)
    assert module.w.item() == pytest.approx(1 - 7 * 0.1)  # the bad step was not taken


def test_weights_that_a_bad_gradient_spoilt_are_never_kept(tmp_path):
    steps = []
    module = Point()

    def loss(positions, generator):
        steps.append(1)
        x = module.w.detach() if len(steps) == 6 else 0.0  # at the last step of epoch 2
        return (module.w - x).abs().sqrt().sum()  # its slope at 0 is not finite

    folder = CheckpointFolder(tmp_path, "run", every=0)
    with pytest.raises(FitError, match=r"toy: .* epoch 2"):
        go(loss, module=module, checkpoints=folder, epochs=2)
    tensors, progress = folder.load("toy")
    assert len(progress["losses"]) == 1
    assert torch.isfinite(tensors["module.w"]).all()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_out_of_memory_suggests_the_batch_size_and_leaves_the_state(tmp_path, error):
    steps = []
    module = Point()

    def loss(positions, generator):
        steps.append(1)
        if len(steps) == 5:
            raise error
        return module.w.sum()

    folder = CheckpointFolder(tmp_path, "run", every=0)
    with pytest.raises(FitError, match=r"toy: out of memory; lower toy\.batch_size \(now 2\)"):
        go(loss, module=module, checkpoints=folder)
    assert module.w.item() == pytest.approx(1 - 4 * 0.1)
    assert len(folder.load("toy")[1]["losses"]) == 1


def test_other_errors_are_not_called_memory():
    def loss(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        go(loss)


class Net(nn.Module):
    """A convolution in channels_last and a batch norm: buffers, counters, layouts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 1))
        self.to(memory_format=torch.channels_last)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
}


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
@pytest.mark.parametrize("saves", [1, 3])
def test_cut_off_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, kind, saves):
    x = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)

    class CutOff(CheckpointFolder):
        left = saves

        def save(self, *args):
            super().save(*args)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def fit(checkpoints):
        net = Net()

        def loss(positions, generator):
            noise = torch.rand(len(positions), 1, 1, 1, generator=generator)
            return (net.layers(x[positions] + noise) ** 2).mean()

        optimizer = OPTIMIZERS[kind](net.parameters())
        options = {"epochs": 4, "batch_size": 5, "schedule": "one-cycle"}
        _, losses = go(loss, 12, net, optimizer, checkpoints=checkpoints, **options)
        return net, losses, optimizer

    whole, losses, _ = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(CutOff(tmp_path, "run", every=0))
    resumed, again, optimizer = fit(CheckpointFolder(tmp_path, "run", every=0))
    assert again == losses
    assert len(losses) == 4
    state, other = whole.state_dict(), resumed.state_dict()
    assert all(state[key].equal(other[key]) for key in state)
    weight = resumed.layers[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for value in optimizer.state[weight].values():
        if value.shape == weight.shape:
            assert value.stride() == weight.stride()  # fused kernels walk them side by side


def test_a_finished_stage_is_read_back_and_not_trained_again(tmp_path):
    module, losses = go(lambda *_: (module.w**2).sum(), module=(module := Point()),
                        checkpoints=CheckpointFolder(tmp_path, "run"))  # fmt: skip
    again = Point()

    def never(*_):
        raise AssertionError

    _, kept = go(never, module=again, checkpoints=CheckpointFolder(tmp_path, "run"))
    assert kept == losses
    assert again.w.equal(module.w)
    assert not again.training


def test_checkpoints_are_written_when_due_and_at_the_end():
    class Diary:
        def __init__(self, due):
            self.due_at, self.asked, self.saved = due, 0, []

        def load(self, stage):
            return None

        def due(self):
            self.asked += 1
            return self.asked in self.due_at

        def save(self, stage, tensors, progress):
            self.saved.append((stage, len(progress["losses"])))

    diary = Diary(due=(2,))
    module = Point()
    go(lambda *_: module.w.sum(), module=module, epochs=5, checkpoints=diary)
    assert diary.saved == [("toy", 2), ("toy", 5)]
