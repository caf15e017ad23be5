"""The matrix product of tiny maps is the convolution, forwards and backwards."""

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


def test_the_matrix_is_for_tiny_maps_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(
        convolution._TinyConvolution, "apply", lambda x, weight: asked.append(x.shape[2:]) or x
    )
    layer = Convolution(4, 4)
    for side in (1, 2, 3):
        layer(torch.rand(2, 4, side, side))
    assert asked == [(1, 1), (2, 2)]


def test_bfloat16_maps_give_float32_gradients_to_the_weights():
    layer = Convolution(4, 4)
    x = torch.rand(2, 4, 2, 2)
    with Runtime(bfloat16=True).autocast():
        result = layer(x.to(torch.bfloat16))
    assert result.dtype == torch.bfloat16
    result.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(result.float(), layer(x), rtol=0.03, atol=0.03)
