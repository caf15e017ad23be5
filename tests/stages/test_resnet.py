"""Stage 3's networks: their maps, by hand, and torchvision's ResNet-18 at width 64."""

import pytest
import torch

from clad.stages.resnet import NETWORKS, STRIDES, PoolingBlock, ResNet8, ResNet18, stem_for


def maps(network, size, channels=1):
    """(channels, side) after each layer of the stem that has an activation, and each block."""
    seen = []
    for module in network.trunk:
        if type(module).__name__ in ("ReLU", "MaxPool2d", "BasicBlock", "PoolingBlock"):
            module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:3])))
    with torch.inference_mode():
        network.eval()(torch.zeros(1, channels, size, size))
    return seen


@pytest.mark.parametrize(
    ("stem", "sides"),
    [
        ("torchvision", [14, 7, 7, 7, 4, 4, 2, 2, 1, 1]),  # stem, its pool, eight blocks
        ("small", [28, 28, 28, 14, 14, 7, 7, 4, 4]),
        ("small-stride", [14, 14, 14, 7, 7, 4, 4, 2, 2]),
    ],
)
def test_maps_of_each_stem(stem, sides):
    found = maps(ResNet18(1, 3, width=4, stem=stem), 28)
    assert [side for _, side in found] == sides
    assert [width for width, _ in found[-8:]] == [4, 4, 8, 8, 16, 16, 32, 32]


@pytest.mark.parametrize(
    ("stem", "size", "sides"),
    [
        (
            "torchvision",
            28,
            [14, 7, 4, 2, 1],
        ),  # stem, its pool, three blocks
        ("small", 28, [28, 14, 7, 4]),
        ("small-stride", 28, [14, 7, 4, 2]),
        ("small-stride", 32, [16, 8, 4, 2]),
        ("small-stride", 8, [4, 2, 1, 1]),
    ],
)
def test_maps_of_the_shallow_network(stem, size, sides):
    found = maps(ResNet8(1, 3, width=4, stem=stem), size)
    assert [side for _, side in found] == sides
    assert [width for width, _ in found[-4:]] == [4, 8, 24, 32]


@pytest.mark.parametrize(
    ("asked", "height", "width", "stem"),
    [
        ("auto", 48, 48, "torchvision"),
        ("auto", 64, 47, "small-stride"),
        ("auto", 28, 28, "small-stride"),
        ("small", 224, 224, "small"),
        ("torchvision", 28, 28, "torchvision"),
    ],
)
def test_the_stem_is_the_one_asked_for_or_suits_the_size(asked, height, width, stem):
    assert stem_for(asked, height, width) == stem


@pytest.mark.parametrize("stem", STRIDES)
def test_the_first_map_is_as_much_smaller_as_its_stride(stem):
    assert ResNet8(1, 3, width=4, stem=stem).maps(torch.rand(2, 1, 64, 32))[0].shape[2:] == (
        64 // STRIDES[stem],
        32 // STRIDES[stem],
    )


@pytest.mark.parametrize("stem", ["torchvision", "small", "small-stride"])
@pytest.mark.parametrize("name", NETWORKS)
def test_four_maps_of_which_the_last_is_pooled(name, stem):
    network = NETWORKS[name](3, 5, width=4, stem=stem).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network.maps(x)
        assert [each.shape[1] for each in found] == [4 * times for times in network.CHANNELS]
        torch.testing.assert_close(found[-1].mean(dim=(2, 3)), network.features(x))
        torch.testing.assert_close(network.trunk(network.standardize(x)), network.features(x))


def test_a_pooling_block_by_hand():
    """One channel, identities: the largest of every four, and it again."""
    block = PoolingBlock(1, 1).eval()
    for convolution in (block.conv1, block.conv2):
        torch.nn.init.dirac_(convolution.weight)
    x = torch.tensor([[1.0, 2, 0, 0, 5], [3, 4, 0, -1, 6], [-7, -8, 0, 1, -9]])
    with torch.inference_mode():
        found = block(x.view(1, 1, 3, 5))
    # odd sides are rounded up: the last windows hold what is left
    expected = [[8.0, 0, 12], [0, 2, 0]]
    assert found[0, 0].tolist() == [pytest.approx(row, rel=1e-4) for row in expected]


@pytest.mark.parametrize("stem", ["torchvision", "small", "small-stride"])
@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_of_parameters(name, stem):
    network = NETWORKS[name](3, 7, width=6, stem=stem)
    side = 7 if stem == "torchvision" else 3
    assert network.trunk[0].weight.shape == (6, 3, side, side)
    assert network.head.weight.shape == (7, 48)
    x = torch.zeros(2, 3, 9, 14)
    assert network.eval().features(x).shape == (2, 48)
    assert network(x).shape == (2, 7)


def test_width_64_is_torchvisions_network():
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=5).eval()
    ours = ResNet18(3, 5, width=64, stem="torchvision").eval()

    def count(network):
        return sum(p.numel() for p in network.parameters())

    assert count(ours) == count(theirs)
    assert count(ResNet18(1, 5, width=64)) == count(theirs) - 2 * 64 * 7 * 7  # grey: one channel
    names = [name for name in ours.state_dict() if not name.startswith("standardize.")]
    weights = dict(zip(names, theirs.state_dict().values(), strict=True))
    ours.load_state_dict(weights, strict=False)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert ours(x)[0].tolist() == pytest.approx(theirs(x)[0].tolist(), abs=1e-4)
