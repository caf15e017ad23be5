"""Support vector data description (Tax and Duin 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.baselines.one_class_svm import OneClassSVM
from clad.data.images import ImageSet
from clad.runtime import Runtime


class SVDD(OneClassSVM):
    """The smallest soft ball around the normal images in the Gaussian kernel's space.

    Its dual maximises sum_i a_i K(x_i, x_i) - sum_ij a_i a_j K(x_i, x_j) with sum_i a_i = 1 and
    0 <= a_i <= C. Where K(x, x) is constant, as here, that is the dual of the one-class SVM with
    C = 1 / (nu n) (Schoelkopf et al. 2001, section 3), whose solver is used: given the same kernel
    both rank images alike. They differ here in what the kernel is taken of, the pixels as they are
    or standardised principal components.
    """

    def preparation(self) -> list[Any]:
        """None: the kernel is of the pixels."""
        return []

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Squared distance to the ball's centre minus its squared radius, float64 (N,).

        With a_i the weights scaled to sum to 1 and rho the SVM's offset scaled alike, both squares
        are 1 + sum_ij a_i a_j K(x_i, x_j) minus 2 sum_i a_i K(x_i, x) and minus 2 rho.
        """
        return 2.0 * super().score(images, runtime) / self.model_[-1].dual_coef_.sum()
