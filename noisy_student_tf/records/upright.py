"""Pictures that Pillow opened, as upright and opaque RGB."""

import numpy as np
from PIL import Image, ImageOps

_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1
_STRIP_PIXELS = 2**20
_MAX_12_BITS = 2**12 - 1
_MAX_8_BITS = 255
# PNG (ISO 15948), Sections 5.2 and 11.3; eXIf is of its third edition.
_PNG_SIGNATURE_BYTES = 8
_PNG_DESCRIPTIONS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened picture: upright, on white, 8 bits of RGB."""
    image.load()
    if not is_upright(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture on white, some rows at a time: it may be large."""
    width, height = image.size
    result = Image.new("RGB", image.size)
    num_rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, num_rows):
        box = (0, top, width, min(top + num_rows, height))
        colors = image.crop(box).convert("RGBA")
        strip = Image.new("RGBA", colors.size, "white")
        strip.alpha_composite(colors)
        result.paste(strip.convert("RGB"), box)
    return result


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return gray of more than 8 bits, or of fractions, in 8."""
    gray = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = gray.max(initial=0)
    if image.mode == "F":
        # Fractions of white, or 8 bits already.
        gray = gray * _MAX_8_BITS if largest <= 1 else gray
    else:
        # As `pipeline.decoders`: files of 16 bits may hold 12.
        gray = np.floor(gray / (16 if largest <= _MAX_12_BITS else 256))
    return Image.fromarray(np.clip(gray, 0, _MAX_8_BITS).astype(np.uint8))


def has_descriptions(png: bytes) -> bool:
    """Tell whether a PNG has chunks of the kinds that may say how it lies."""
    place = _PNG_SIGNATURE_BYTES
    while place + 8 <= len(png):
        if png[place + 4 : place + 8] in _PNG_DESCRIPTIONS:
            return True
        # Behind its length and kind: content and checksum.
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    return False


def is_upright(image: Image.Image) -> bool:
    """Tell whether an opened picture's metadata turn it."""
    return _orientation(image) == _UPRIGHT


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, _UPRIGHT)
    # Broken metadata does not make a picture unusable.
    except Exception:
        return _UPRIGHT
