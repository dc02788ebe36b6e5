"""Pictures as they are stored: RGB that TensorFlow decodes, checked."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from noisy_student_tf.pipeline import decode

# Pillow's own limit for decompression bombs: 256 MiB of RGB.
MAX_PIXELS = 89_478_485
_TOO_LARGE = f"its header claims more than {MAX_PIXELS} pixels"

# Up to this side a picture that must be encoded anew stays lossless.
LOSSLESS_SIDE = 256

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_LOSSLESS_FORMATS = ("PNG", "BMP", "GIF")
_JPEG_QUALITY = 95
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1
_PNG_BIT_DEPTH_OFFSET = 24  # Signature, then length, "IHDR", width, height.
_WEBP_CHUNK = slice(12, 16)


class CorruptImageError(ValueError):
    """A picture that cannot be used; the message is the reason."""


def normalize(encoded: bytes, *, max_side: int = 0) -> bytes:
    """Return a picture as it is stored: upright RGB of 8 bits, JPEG or PNG.

    JPEG and PNG files that are so already are returned as they are. Others
    are decoded and encoded anew: losslessly as PNG if they are small or their
    file was lossless, as JPEG of quality 95 otherwise. Of animations the first
    frame is kept. What is transparent becomes white, the page that drawings
    and product pictures with alpha are made for.

    Args:
        encoded: A JPEG, PNG, WebP, BMP or GIF file.
        max_side: Longest side in pixels; larger pictures are shrunk to it. 0:
            no limit.

    Raises:
        CorruptImageError: The file is damaged, of another format, or has more
            than `MAX_PIXELS` pixels, which its header tells before anything is
            decoded.
    """
    image = _open(encoded)
    width, height = image.size
    shrinks = bool(max_side) and max(width, height) > max_side
    if not shrinks and _is_stored_as_is(image, encoded):
        check_decodable(encoded)
        return encoded
    try:
        picture = _to_upright_rgb(image)
    # Pillow's decoders raise whatever they trip over on damaged files.
    except Exception as error:
        raise CorruptImageError(_reason(error)) from error
    if shrinks:
        scale = max_side / max(width, height)
        size = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return _encode(picture, is_lossless=_is_lossless(image, encoded))


def _open(encoded: bytes) -> Image.Image:
    """Read a picture's header and check its size."""
    if not encoded:
        raise CorruptImageError("the file is empty")
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise CorruptImageError(_TOO_LARGE) from error
    except Image.UnidentifiedImageError as error:
        raise CorruptImageError(
            "not a JPEG, PNG, WebP, BMP or GIF file, or a damaged one"
        ) from error
    except Exception as error:
        raise CorruptImageError(_reason(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise CorruptImageError(_TOO_LARGE)
    return image


def _is_stored_as_is(image: Image.Image, encoded: bytes) -> bool:
    if image.mode != "RGB" or _orientation(image) != _UPRIGHT:
        return False
    if image.format == "PNG":
        return (
            encoded[_PNG_BIT_DEPTH_OFFSET] == 8
            and "transparency" not in image.info
            and not getattr(image, "is_animated", False)
        )
    # MPO: JPEGs of phones with a second picture behind the first.
    return image.format in ("JPEG", "MPO")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, _UPRIGHT)
    # Broken metadata does not make a picture unusable.
    except Exception:
        return _UPRIGHT


def _is_lossless(image: Image.Image, encoded: bytes) -> bool:
    if image.format == "WEBP":
        return encoded[_WEBP_CHUNK] == b"VP8L"
    return image.format in _LOSSLESS_FORMATS


def check_decodable(encoded: bytes) -> None:
    """Decode as training will; Pillow may be more lenient.

    Raises:
        CorruptImageError: TensorFlow cannot.
    """
    try:
        decode.decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError as error:
        raise CorruptImageError("truncated or damaged data") from error


def _to_upright_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn upright and convert to RGB of 8 bits."""
    image.load()
    if _orientation(image) != _UPRIGHT:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of gray
        gray = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        colors = image.convert("RGBA")
        image = Image.new("RGBA", colors.size, "white")
        image.alpha_composite(colors)
    return image.convert("RGB")


def _encode(picture: Image.Image, *, is_lossless: bool) -> bytes:
    buffer = io.BytesIO()
    # A new image carries no metadata of the old one into the file.
    plain = Image.frombytes("RGB", picture.size, picture.tobytes())
    if is_lossless or max(picture.size) <= LOSSLESS_SIDE:
        plain.save(buffer, "PNG")
    else:
        plain.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    return f"{error}" or type(error).__name__
