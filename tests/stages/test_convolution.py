"""The matrix products of tiny and small maps are the convolution, forwards and backwards."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from clad.runtime import Runtime
from clad.stages import convolution
from clad.stages.convolution import Convolution


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)])
def test_results_and_gradients_are_those_of_a_convolution(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    layer = Convolution(4, 5).double()
    weight = layer.weight.detach().clone().requires_grad_()
    ours, theirs = layer(x), F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(ours, theirs)
    of_result = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    (of_x,) = torch.autograd.grad(theirs, x, of_result, retain_graph=True)
    theirs.backward(of_result)
    expected = weight.grad
    x.grad = None
    ours.backward(of_result)
    torch.testing.assert_close(x.grad, of_x)
    torch.testing.assert_close(layer.weight.grad, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (7, 5)])
def test_gradients_of_small_maps_are_those_of_a_convolution(size, layout):
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        found = torch.randn(*shape, dtype=torch.float64, generator=generator)
        return found.to(memory_format=layout).requires_grad_()

    x, weight = numbers(3, 4, *size), numbers(5, 4, 3, 3)
    of_result = numbers(3, 5, *size).detach()
    ours = convolution._SmallConvolution.apply(x, weight)
    theirs = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(ours, theirs)
    for wanted in ([x, weight], [x], [weight]):
        found, expected = (
            torch.autograd.grad(result, wanted, of_result, retain_graph=True)
            for result in (ours, theirs)
        )
        torch.testing.assert_close(found, expected)


def test_which_maps_are_multiplied(monkeypatch):
    asked = []
    for name in ("_TinyConvolution", "_SmallConvolution"):
        monkeypatch.setattr(
            getattr(convolution, name),
            "apply",
            lambda x, _weight, name=name: asked.append((name, x.dtype, *x.shape[2:])) or x,
        )
    layer = Convolution(4, 4)
    half = torch.bfloat16
    with Runtime(bfloat16=True).autocast():
        for dtype in (torch.float32, half):
            for side in (1, 2, 3, 7, 8):
                layer(torch.rand(2, 4, side, side, dtype=dtype))
    assert asked == [
        ("_TinyConvolution", torch.float32, 1, 1),
        ("_TinyConvolution", torch.float32, 2, 2),
        ("_TinyConvolution", half, 1, 1),
        ("_TinyConvolution", half, 2, 2),
        ("_SmallConvolution", half, 3, 3),
        ("_SmallConvolution", half, 7, 7),
    ]


@pytest.mark.parametrize("side", [2, 4])
def test_bfloat16_maps_give_float32_gradients_to_the_weights(side):
    layer = Convolution(4, 4)
    x = torch.rand(2, 4, side, side)
    with Runtime(bfloat16=True).autocast():
        result = layer(x.to(torch.bfloat16))
    assert result.dtype == torch.bfloat16
    result.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(result.float(), layer(x), rtol=0.03, atol=0.03)
