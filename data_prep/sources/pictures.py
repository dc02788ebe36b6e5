"""Pictures as they are stored: files that graphs decode, checked."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.records import pictures as picture_files

CorruptImageError = picture_files.CorruptImageError

# First bytes of a format, and what EXIF stands behind in it.
_EXIF = {b"\xff\xd8": b"Exif\0\0", b"\x89P": b"eXIf", b"RI": b"EXIF"}
_DAMAGED = "truncated or damaged data"


def normalize(encoded: bytes, *, max_side: int = 0) -> bytes:
    """Return a picture as it is stored; see `normalize_all`.

    Raises:
        CorruptImageError: It cannot be used.
    """
    (stored,) = normalize_all([encoded], max_side=max_side)
    if isinstance(stored, CorruptImageError):
        raise stored
    return stored


def normalize_all(
    encoded: Sequence[bytes], *, max_side: int = 0
) -> list[bytes | CorruptImageError]:
    """Return pictures as they are stored, or why they cannot be used.

    What is upright, opaque and of 8 bits is stored as it is. Other files, and
    those that are shrunk, are encoded anew, as `records.pictures.encode` says.

    Args:
        encoded: Files that may be pictures; all are decoded, on all cores.
        max_side: Longest side in pixels; larger pictures are shrunk to it. 0:
            no limit.

    Returns:
        For each file its stored bytes, or an error: it is damaged, no picture,
        or has more than `MAX_PIXELS` pixels, which its header tells before
        anything is decoded.
    """
    results = [_attempt(_to_plain, each) for each in encoded]
    if max_side:
        return [
            each
            if isinstance(each, CorruptImageError)
            else _attempt(functools.partial(_shrink, max_side), each)
            for each in results
        ]
    places = {
        place: each
        for place, each in enumerate(results)
        if isinstance(each, bytes)
    }
    are_good = _are_decodable([*places.values()])
    for place, is_good in zip(places, are_good, strict=True):
        if not is_good:
            results[place] = CorruptImageError(_DAMAGED)
    return results


def check_decodable(encoded: bytes) -> np.ndarray:
    """Decode as training will: uint8 [height, width, 3].

    Raises:
        CorruptImageError: It is damaged or too large.
    """
    return _decode(_decode_stored(), encoded)


def _attempt(
    change: Callable[[bytes], bytes], encoded: bytes
) -> bytes | CorruptImageError:
    try:
        return change(encoded)
    except CorruptImageError as error:
        return error


def _to_plain(encoded: bytes) -> bytes:
    """Return a picture as streams decode it, the same bytes where it is one."""
    decodable = picture_files.to_decodable(encoded)
    if picture_files.is_plain(decodable) and _is_upright(decodable):
        return decodable
    picture = Image.fromarray(_decode(_decode_file(), decodable))
    is_lossless = not picture_files.is_lossy(encoded)
    return picture_files.encode(picture, is_lossless=is_lossless)


def _is_upright(encoded: bytes) -> bool:
    """Tell whether graphs leave a picture as it lies, damaged EXIF or not."""
    marker = _EXIF.get(encoded[:2])
    has_exif = marker is not None and marker in encoded
    return not has_exif or bool(_reads_upright()(tf.constant(encoded)))


def _decode(
    function: Callable[[tf.Tensor], tf.Tensor], encoded: bytes
) -> np.ndarray:
    try:
        return function(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise CorruptImageError(_DAMAGED) from error


def _shrink(max_side: int, encoded: bytes) -> bytes:
    """Return a picture that graphs decode, no larger than a side."""
    pixels = check_decodable(encoded)
    height, width = pixels.shape[:2]
    if max(width, height) <= max_side:
        return encoded
    scale = max_side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    is_lossless = not picture_files.is_lossy(encoded)
    return picture_files.encode(picture, is_lossless=is_lossless)


def _are_decodable(encoded: Sequence[bytes]) -> np.ndarray:
    """Tell which pictures can be decoded: bool [len(encoded)]."""
    are_good = np.zeros(len(encoded), bool)
    if encoded:
        found = _check_function()(tf.constant(encoded, tf.string)).numpy()
        are_good[found[found >= 0]] = True
    return are_good


# Traced when they are first needed: nothing is computed at import.
@functools.cache
def _decode_stored() -> Callable[[tf.Tensor], tf.Tensor]:
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(decode.decode, signature, autograph=False)


@functools.cache
def _reads_upright() -> Callable[[tf.Tensor], tf.Tensor]:
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(decoders.is_upright, signature, autograph=False)


@functools.cache
def _decode_file() -> Callable[[tf.Tensor], tf.Tensor]:
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(decoders.decode, signature, autograph=False)


@functools.cache
def _check_function() -> Callable[[tf.Tensor], tf.Tensor]:
    """Return what tells the places of pictures that can be decoded, and -1."""

    def check(encoded: tf.Tensor) -> tf.Tensor:
        def attempt(place: tf.Tensor) -> tf.Tensor:
            size = tf.size(decode.decode(encoded[place]), tf.int64)
            return tf.where(size > 0, place, -1)

        count = tf.size(encoded, tf.int64)
        places = tf.data.Dataset.range(count).map(
            attempt, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
        )
        # A graph cannot catch errors, but a pipeline can drop what failed.
        found = places.ignore_errors().concatenate(
            tf.data.Dataset.from_tensors(tf.constant(-1, tf.int64))
        )
        return found.batch(count + 1).get_single_element()

    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(check, signature, autograph=False)
