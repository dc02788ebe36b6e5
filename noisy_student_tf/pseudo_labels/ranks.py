"""The order in which images are taken, as integers.

Floats of at least 0 are ordered as their bits are. A rank is therefore an
integer made of the confidence's bits and, where confidences are equal, of a
hash of the id; small ranks are taken first. Histograms over such integers
find an exact cut although no image is kept in memory.
"""

import hashlib

import numpy as np

from noisy_student_tf.records import schema

# A softmax may exceed 1 by its rounding.
_TOP_BITS = int(
    np.float32(1 + schema.MAX_PROBABILITY_SUM_ERROR).view(np.uint32)
)

CONFIDENCE_SHIFT = 32
# Hashes keep one bit free, so that no shift reaches the width of the integer.
HASH_BITS = 63


def confidence_ranks(confidences: np.ndarray | np.floating) -> np.ndarray:
    """Return 0 for the greatest confidence there can be, more for smaller.

    Args:
        confidences: float32 [...] in [0, 1].

    Returns:
        uint32 [...]; equal only for equal confidences.
    """
    # Adding 0 turns -0.0, whose bits are large, into 0.0.
    positive = np.asarray(confidences, np.float32) + np.float32(0)
    return np.uint32(_TOP_BITS) - positive.view(np.uint32)


def id_words(ids: np.ndarray) -> np.ndarray:
    """Return ids as two integers whose order is that of the bytes.

    Args:
        ids: uint8 [num_rows, 16].

    Returns:
        uint64 [num_rows, 2].
    """
    words = np.ascontiguousarray(ids).view(">u8")
    return words.astype(np.uint64)


def hashes(words: np.ndarray, *, seed: int, purpose: str) -> np.ndarray:
    """Return a number in [0, 2**63) per id, for a seed and a purpose.

    Args:
        words: uint64 [num_rows, 2], what `id_words` returned.
        seed: Another seed gives unrelated hashes.
        purpose: Another purpose gives unrelated hashes.

    Returns:
        uint64 [num_rows].
    """
    digest = hashlib.blake2b(f"{purpose}/{seed}".encode(), digest_size=8)
    salt = np.frombuffer(digest.digest(), "<u8")[0]
    mixed = _mix(_mix(words[:, 0] ^ salt) ^ words[:, 1])
    return mixed >> np.uint64(64 - HASH_BITS)


def _mix(words: np.ndarray) -> np.ndarray:
    """Mix bits by the finalizer of SplitMix64."""
    words = words ^ (words >> np.uint64(30))
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
