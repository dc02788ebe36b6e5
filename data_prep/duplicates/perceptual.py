"""Perceptual hashes: what a picture looks like, in 64 bits.

The hash is ImageHash's `phash`: signs of the low frequencies of a cosine
transform. Scaled, recompressed and slightly edited copies differ from their
original in a few of the bits.
"""

import imagehash
import numpy as np
from PIL import Image

from noisy_student_tf.records import pictures

# JPEG is decoded no larger than four times the 32 pixels that are hashed.
_DECODED_SIDE = 128
# The signs of a picture without contrast are those of its noise.
_MIN_CONTRAST = 4.0
_CONTRAST_SIDE = 16


def hash_picture(encoded: bytes, *, min_side: int) -> int | None:
    """Return a picture's hash in [0, 2**64).

    Args:
        encoded: A stored picture.
        min_side: Pictures whose shorter side is smaller get none: a
            perceptual hash tells them hardly apart.

    Returns:
        None, too, for pictures without contrast and unreadable ones.
    """
    try:
        if min(pictures.read_header(encoded).size) < min_side:
            return None
        picture = pictures.open_upright(
            encoded, draft_side=_DECODED_SIDE, draft_mode="L"
        )
    # The later stages name damaged files.
    except pictures.CorruptImageError:
        return None
    gray = picture.convert("L")
    coarse = gray.resize((_CONTRAST_SIDE,) * 2, Image.Resampling.BOX)
    if np.asarray(coarse, np.float32).std() < _MIN_CONTRAST:
        return None
    bits = np.packbits(imagehash.phash(gray).hash)
    return int.from_bytes(bits.tobytes(), "big")
