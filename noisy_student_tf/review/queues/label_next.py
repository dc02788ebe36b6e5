"""Label these next: uncertain images that differ from each other.

Citovsky et al., Batch Active Learning at Scale, NeurIPS 2021: of the images of
the smallest margins between the two best classes, clusters of the network's
features give one after the other. Uncertainty alone would show one kind of
picture again and again. Clusters are those of k-means here, whose time grows
with the number of images and not with its square.
"""

import dataclasses

import numpy as np
from sklearn import cluster

_BATCH_SIZE = 1024
_NUM_STARTS = 3


@dataclasses.dataclass(frozen=True)
class Choice:
    """Images to label, in order.

    Attributes:
        rows: int64 [num_chosen], of the candidates.
        cluster_sizes: int64 [num_chosen], candidates that look alike.
    """

    rows: np.ndarray
    cluster_sizes: np.ndarray


def choose(
    margins: np.ndarray,
    features: np.ndarray,
    *,
    length: int,
    per_cluster: int,
    seed: int,
) -> Choice:
    """Choose images that are uncertain, and few of one cluster.

    Every cluster gives its most uncertain image, then every cluster its second
    one. Any beginning of the order is a batch of different images.

    Args:
        margins: float [num_images], probability of the best class less that of
            the second.
        features: float [num_images, num_features], what the classifier sees.
        length: How many are chosen at most.
        per_cluster: How many of one cluster at most.
        seed: Of the clustering.
    """
    if not len(margins):
        return Choice(np.zeros(0, np.int64), np.zeros(0, np.int64))
    clusters = _clusters(features, -(-length // per_cluster), seed)
    order = np.lexsort((margins, clusters))
    starts = np.r_[True, np.diff(clusters[order]) != 0]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - first
    rows = np.lexsort((margins, ranks))
    rows = rows[ranks[rows] < per_cluster][:length]
    return Choice(rows, np.bincount(clusters)[clusters[rows]])


def _clusters(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each image: int32 [num_images]."""
    directions = features.astype(np.float32)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions /= np.maximum(lengths, np.finfo(np.float32).tiny)
    # More than there are different images would be empty.
    num_different = len(np.unique(directions, axis=0))
    if num_different <= count:
        return np.unique(directions, axis=0, return_inverse=True)[1].reshape(-1)
    return cluster.MiniBatchKMeans(
        count, batch_size=_BATCH_SIZE, n_init=_NUM_STARTS, random_state=seed
    ).fit_predict(directions)
