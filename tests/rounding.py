"""How far apart two right float32 results of the same sums may lie.

Processors add in different orders: by their instructions' width, with fused
multiplications or without, and by the number of threads. Tests that compare
sums take their tolerances from here, not from what one machine gives.
"""

import math

import numpy as np

# The distance from 1 to the next number. A rounding errs by half of it.
EPSILON = float(np.finfo(np.float32).eps)


def share(*terms: int) -> float:
    """Return the share of the largest value by which results may differ.

    What has been added up after k of n terms of either sign is about
    sqrt(k / n) of the largest sums, and each addition rounds it, up or down,
    by epsilon / 2 at most. Roundings add up as the terms do: all in all to
    sqrt(n) * epsilon / 2 at most (Higham and Mary, "A new approach to
    probabilistic rounding error analysis", 2019). Two results differ by twice
    that. A layer hands on the share that it was given and adds its own.

    Args:
        *terms: The number of terms in the sums of each layer between what is
            given and what is compared. Left out are those of few terms, such
            as activations, and means over maps, which average roundings too.
    """
    return EPSILON * sum(math.sqrt(count) for count in terms)


def terms_of(model) -> list[int]:
    """Return the numbers of terms of what a Keras model has kernels for."""
    return [
        math.prod(
            # A depthwise convolution's channels are not added up.
            variable.shape[: -2 if "depthwise" in variable.path else -1]
        )
        for variable in model.variables
        if variable.name == "kernel"
    ]


def of_logits(model, logits) -> float:
    """Return by how much a model's logits may differ."""
    return share(*terms_of(model)) * float(np.abs(logits).max())


def of_probabilities(model, logits) -> float:
    """Return by how much the softmax of a model's logits may differ.

    A probability p changes by p * (1 - p) times what its own logit does
    against the others: by 1/4 at most of twice what a logit may differ by.
    """
    return of_logits(model, logits) / 2
