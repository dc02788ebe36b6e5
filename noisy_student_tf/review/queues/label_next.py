"""Label these next: uncertain images that differ from each other.

BADGE (Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient
Lower Bounds, ICLR 2020): were its best class an image's label, the gradient of
the last layer would be (probabilities - that class) times (features). It is
long where the network is unsure, and two of them are apart where features or
answers are. Images are drawn one after the other, each by its squared distance
to the nearest one drawn before and to nothing (k-means++), so that any
beginning of the order is a batch of uncertain, different images.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Choice:
    """Images to label, in order.

    Attributes:
        rows: int64 [num_chosen], of the candidates.
        num_alike: int64 [num_chosen], candidates that are nearer to it than to
            any other chosen one, itself among them.
    """

    rows: np.ndarray
    num_alike: np.ndarray


def choose(
    probabilities: np.ndarray, features: np.ndarray, *, length: int, seed: int
) -> Choice:
    """Choose images that are uncertain, and different.

    Args:
        probabilities: float [num_images, num_classes], rows sum to 1.
        features: float [num_images, num_features], what the classifier sees.
        length: How many are chosen at most. Images that are as near to a chosen
            one as rounding can tell are left out.
        seed: Of the draws.
    """
    answers = probabilities.astype(np.float64)
    answers[np.arange(len(answers)), answers.argmax(axis=1)] -= 1
    # Of the ones is the gradient of the last layer's bias.
    seen = np.concatenate([np.ones([len(features), 1]), features], axis=1)
    squares = (answers**2).sum(axis=1) * (seen**2).sum(axis=1)
    generator = np.random.default_rng(seed)
    # Of no length is an image that says nothing new: as if it were chosen.
    left, gaps = squares.copy(), np.full(len(squares), np.inf)
    nearest = np.zeros(len(squares), np.int64)
    least = np.finfo(np.float32).eps * squares.max(initial=0)
    chosen: list[int] = []
    while len(chosen) < length and left.sum() > 0:
        row = int(generator.choice(len(left), p=left / left.sum()))
        products = (answers @ answers[row]) * (seen @ seen[row])
        distances = squares + squares[row] - 2 * products
        distances[row] = 0
        nearest[distances < gaps] = len(chosen)
        gaps = np.minimum(gaps, distances)
        left = np.minimum(left, gaps)
        left[left <= least] = 0
        chosen.append(row)
    return Choice(
        np.array(chosen, np.int64), np.bincount(nearest, minlength=len(chosen))
    )
