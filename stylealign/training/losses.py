"""The losses of StyleGAN2: logistic, R1 and path length."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.latents import Images, Logits, WPlus


def generator_loss(fake_logits: Logits) -> Tensor:
    """Non-saturating logistic loss of the generator, averaged over the batch.

    Source: Goodfellow et al., arXiv:1406.2661, section 3.
    """
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Tensor:
    """Logistic loss of the discriminator, averaged over the batch."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def r1_penalty(real: Images, real_logits: Logits) -> Tensor:
    """Squared gradient norm of the logits at each real image; multiply by gamma / 2.

    Shapes: real [N, C, H, W] with requires_grad, real_logits [N, 1] -> [N].
    Source: Mescheder et al., arXiv:1801.04406, equation 9.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=[1, 2, 3])


def path_lengths(images: Images, w_plus: WPlus, noise: Images) -> Tensor:
    """Length of J^T y, how far the code moves the image in the random direction y.

    Shapes: noise y [N, C, H, W] of unit variance -> [N].
    Source: arXiv:1912.04958, equation 4; the mean over layers is that of the official code.
    """
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * y).sum(), w_plus, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Squared distance of each length to the running mean, and that mean after this batch.

    The distance is to the mean that this batch already moved, and its gradient runs through
    that move, as in the official code.

    Shapes: lengths [N], mean scalar -> penalty [N], mean scalar without gradient.
    Source: arXiv:1912.04958, section 3.2.
    """
    mean = mean.lerp(lengths.mean(), decay)
    return (lengths - mean).square(), mean.detach()


def linearized_path_penalty(lengths: Tensor, joint: Tensor, mean: Tensor, decay: float) -> Tensor:
    """A loss of some lengths whose gradient is their share of the joint batch's penalty.

    The joint penalty depends on all lengths through the mean that they move. Derived by hand
    (P = mean_j (l_j - m)^2 with dm/dl_i = decay / N), the gradient at l_i needs only numbers of
    the joint batch: 2 / N * (l_i - m - decay * mean_j (l_j - m)).

    Shapes: lengths [n] of this part, joint [N] of all parts, mean m scalar -> scalar.
    """
    offset = decay * (joint - mean).mean().detach()
    return ((lengths - mean).square() - 2 * offset * lengths).sum() / len(joint)
