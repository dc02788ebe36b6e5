"""Files that are pictures: told by their content, and made what graphs decode.

`pipeline.decoders` is what gives pixels. It reads JPEG, PNG, still WebP and
plain BMP as they are; everything else that is a picture becomes one of these
here, with Pillow, before it is stored, classified or served.
`docs/pictures.md` lists what becomes of which file.
"""

import dataclasses
import functools
import importlib.util
import io
import struct

from PIL import Image

from noisy_student_tf.records import upright

# Pillow's own limit for decompression bombs: 256 MiB of RGB.
MAX_PIXELS = 89_478_485
# What Pillow decodes here is held twice, four bytes a pixel.
MAX_PILLOW_PIXELS = 2**26
# How files of pictures are named.
_JPEG_NAMES = (".jpg", ".jpeg", ".jpe", ".jfif")
_HEIC_NAMES = (".heic", ".heif")
_TIFF_NAMES = (".tif", ".tiff")
_OTHER_NAMES = (".png", ".webp", ".bmp", ".gif", *_TIFF_NAMES, ".avif")
ACCEPTED = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF and HEIC"
# What `kind_of` has to see of a file.
HEAD_BYTES = 40

# Up to this side a picture that must be encoded anew stays lossless.
LOSSLESS_SIDE = 256

_HEIC_PACKAGE = "pillow_heif"
_JPEG_QUALITY = 95
# A third of the time of Pillow's own level, and a tenth more bytes.
_PNG_LEVEL = 1
_LOSSY_KINDS = ("avif", "heic", "jpeg")

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1")
_AVIF_BRANDS = (b"avif", b"avis")
_TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Start of frame (ITU T.81, Table B.1), but for DHT, JPG and DAC among them.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_FILL = 0xFF
# Modes of Pillow that TensorFlow decodes to the same RGB.
_PLAIN_MODES = ("1", "L", "P", "RGB")
# Without any of these a file says nothing of how it lies.
_ORIENTATIONS = (
    *(b"Exif", b"eXIf", b"EXIF", b"Raw profile type"),
    *(b"adobe.xmp", b"ns.adobe.com", b"rientation"),
)
# PNG (ISO 15948), Section 11.2.2.
_PNG_DEPTH_PLACE = slice(24, 25)
_PNG_DEPTH = b"\x08"
# BITMAPINFOHEADER, BITMAPV4HEADER, BITMAPV5HEADER.
PLAIN_BMP_HEADERS = (40, 108, 124)
_PILLOW_FORMATS = {
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "webp": ("WEBP",),
    "bmp": ("BMP",),
    "gif": ("GIF",),
    "tiff": ("TIFF",),
    "avif": ("AVIF",),
    "heic": ("HEIF",),
}


# What to do about pictures that are not read for want of a package, by suffix.
ADVICE = dict.fromkeys(_HEIC_NAMES, "pip install -e '.[heic]'")


class CorruptImageError(ValueError):
    """A picture that cannot be used; the message is the reason."""


class TooLargeError(CorruptImageError):
    """A picture of more pixels than are decoded."""

    def __init__(self, max_pixels: int) -> None:
        """Name the limit."""
        super().__init__(f"its header claims more than {max_pixels} pixels")


@dataclasses.dataclass(frozen=True)
class Header:
    """What a picture's first bytes say.

    Attributes:
        kind: As `kind_of` returns it.
        size: (width, height) as stored; (0, 0) where only a decoder finds it.
        is_decodable: Whether graphs decode it as it is.
    """

    kind: str
    size: tuple[int, int] = (0, 0)
    is_decodable: bool = False


@functools.cache
def extensions() -> tuple[str, ...]:
    """Return how the names of pictures end that can be read here.

    Files without any such ending are pictures if their content is.
    """
    has_heic = importlib.util.find_spec(_HEIC_PACKAGE) is not None
    return (*_JPEG_NAMES, *_OTHER_NAMES, *(_HEIC_NAMES if has_heic else ()))


def kind_of(head: bytes) -> str:
    """Return which kind of picture a file is, or nothing if it is none.

    Args:
        head: The file, or its first `HEAD_BYTES`.

    Returns:
        `jpeg`, `png`, `webp`, `bmp`, `gif`, `tiff`, `avif`, `heic`, or "".
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(_TIFF_BEGINNINGS):
        return "tiff"
    if head[4:8] == b"ftyp":
        brands = [head[at : at + 4] for at in range(8, len(head), 4)]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return "avif"
        return "heic" if any(b in _HEIC_BRANDS for b in brands) else ""
    # Two letters could begin a text: the rest of the header has to fit.
    is_bmp = head.startswith(b"BM") and head[6:10] == bytes(4)
    return "bmp" if is_bmp else ""


def read_header(encoded: bytes) -> Header:
    """Return what a picture's header says, without decoding anything.

    Raises:
        CorruptImageError: It is no picture, or of more than `MAX_PIXELS`, or
            `MAX_PILLOW_PIXELS` where Pillow decodes it.
    """
    if not encoded:
        raise CorruptImageError("the file is empty")
    kind = kind_of(encoded[:HEAD_BYTES])
    if not kind:
        raise CorruptImageError(f"not a {ACCEPTED.replace(' and', ' or')} file")
    try:
        header = _READERS[kind](encoded) if kind in _READERS else Header(kind)
    except (struct.error, IndexError) as error:
        raise CorruptImageError("the file ends in its header") from error
    _check_size(header.size, header.is_decodable)
    return header


def to_decodable(encoded: bytes, *, is_kept: bool = True) -> bytes:
    """Return a picture that graphs decode, the same bytes where they are one.

    Of animations and files of several pages the first picture is taken.
    Small pictures and those of lossless files stay lossless, others become
    JPEG of quality 95. Equal files give equal pixels, wherever they are read.

    Args:
        encoded: A file of any accepted kind.
        is_kept: The result is stored, and lossless ones are packed as PNG;
            otherwise as BMP, which takes no time.

    Raises:
        CorruptImageError: It is no picture, too large, or damaged. Of what is
            returned as it is no more than the header is read.
    """
    header = read_header(encoded)
    if header.is_decodable:
        return encoded
    picture = open_upright(encoded)
    is_lossless = not _is_lossy(header.kind, encoded)
    return encode(picture, is_lossless=is_lossless, is_packed=is_kept)


def is_plain(encoded: bytes) -> bool:
    """Tell whether a picture is upright, opaque and of at most 8 bits.

    Such a file is stored as it is: the decoder of streams makes of it what
    that of files does.

    Args:
        encoded: A file that graphs decode.
    """
    kind = kind_of(encoded[:HEAD_BYTES])
    if kind == "png" and encoded[_PNG_DEPTH_PLACE] > _PNG_DEPTH:
        return False
    try:
        image = Image.open(io.BytesIO(encoded), formats=_PILLOW_FORMATS[kind])
    # Damaged, or not quite what the standard says: graphs decide.
    except Exception:
        return False
    if image.mode not in _PLAIN_MODES or image.has_transparency_data:
        return False
    # To be asked for it, Pillow decodes a PNG.
    says_nothing = not any(each in encoded for each in _ORIENTATIONS)
    return says_nothing or upright.is_upright(image)


def open_upright(
    encoded: bytes, *, draft_side: int = 0, draft_mode: str = "RGB"
) -> Image.Image:
    """Decode with Pillow: upright, opaque, RGB.

    Args:
        encoded: A file of any accepted kind.
        draft_side: JPEGs may be decoded at a part of their size that is not
            smaller than this; 0: at their own.
        draft_mode: "L" decodes no colors of such a JPEG.

    Raises:
        CorruptImageError: It is no picture, too large, or damaged.
    """
    header = read_header(encoded)
    if header.kind == "heic":
        _register_heic()
    try:
        formats = _PILLOW_FORMATS[header.kind]
        image = Image.open(io.BytesIO(encoded), formats=formats)
        _check_size(image.size, header.is_decodable)
        if draft_side:
            image.draft(draft_mode, (draft_side, draft_side))
        return upright.to_rgb(image)
    except CorruptImageError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(MAX_PILLOW_PIXELS) from error
    # Pillow's decoders raise whatever they trip over on damaged files.
    except Exception as error:
        raise CorruptImageError(f"{error}" or type(error).__name__) from error


def encode(
    picture: Image.Image, *, is_lossless: bool, is_packed: bool = True
) -> bytes:
    """Encode an RGB picture: losslessly if asked to, or small, or as JPEG."""
    buffer = io.BytesIO()
    # Nothing of the old file's metadata goes into the new one.
    picture.info = {}
    if not is_lossless and max(picture.size) > LOSSLESS_SIDE:
        picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        picture.save(
            buffer, "PNG" if is_packed else "BMP", compress_level=_PNG_LEVEL
        )
    return buffer.getvalue()


def is_lossy(encoded: bytes) -> bool:
    """Tell whether a picture's file has lost something already."""
    return _is_lossy(kind_of(encoded[:HEAD_BYTES]), encoded)


def _is_lossy(kind: str, encoded: bytes) -> bool:
    if kind == "webp":
        return b"VP8L" not in encoded[:HEAD_BYTES]
    return kind in _LOSSY_KINDS


def _png_header(encoded: bytes) -> Header:
    size = struct.unpack_from(">II", encoded, 16)
    return Header("png", size, is_decodable=True)


def _jpeg_header(encoded: bytes) -> Header:
    try:
        return Header("jpeg", _jpeg_size(encoded), is_decodable=True)
    except (struct.error, IndexError):
        # Damaged, or not quite what the standard says: the decoder decides.
        return Header("jpeg", is_decodable=True)


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    position, marker = 2, 0
    while marker not in _JPEG_FRAMES:
        # Segments may be preceded by fill bytes.
        while encoded[position + 1] == _JPEG_FILL:
            position += 1
        marker = encoded[position + 1]
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        position += 2 + max(length, 2)
    # Behind the length: precision, height, width.
    height, width = struct.unpack_from(">HH", encoded, position - length + 3)
    return width, height


def _gif_header(encoded: bytes) -> Header:
    return Header("gif", struct.unpack_from("<HH", encoded, 6))


def _webp_header(encoded: bytes) -> Header:
    chunk = encoded[12:16]
    if chunk == b"VP8X":
        is_animated = bool(encoded[20] & 2)
        canvas = encoded[24:27] + b"\0" + encoded[27:30] + b"\0"
        width, height = struct.unpack("<II", canvas)
        return Header("webp", (width + 1, height + 1), not is_animated)
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return Header("webp", size, is_decodable=True)
    width, height = struct.unpack_from("<HH", encoded, 26)
    return Header("webp", (width & 0x3FFF, height & 0x3FFF), is_decodable=True)


def _bmp_header(encoded: bytes) -> Header:
    header_bytes, width, height = struct.unpack_from("<Iii", encoded, 14)
    bits, compression = struct.unpack_from("<HI", encoded, 28)
    is_plain = bits == 24 and compression == 0
    return Header(
        "bmp",
        (abs(width), abs(height)),
        is_decodable=is_plain and header_bytes in PLAIN_BMP_HEADERS,
    )


_READERS = {
    "jpeg": _jpeg_header,
    "png": _png_header,
    "gif": _gif_header,
    "webp": _webp_header,
    "bmp": _bmp_header,
}


def _check_size(size: tuple[int, int], is_decodable: bool) -> None:
    limit = MAX_PIXELS if is_decodable else MAX_PILLOW_PIXELS
    if size[0] * size[1] > limit:
        raise TooLargeError(limit)


def _register_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise CorruptImageError(
            "HEIC needs a package: pip install -e '.[heic]'"
        ) from error
    pillow_heif.register_heif_opener()
