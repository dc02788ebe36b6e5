"""A picture of the first batch, each image with its label beneath it."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_MAX_IMAGES = 24
_COLUMNS = 8
_MIN_SIDE = 96
_CAPTION_PIXELS = 14


def draw(
    batch: dict[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Draw the first images of each half of a batch.

    Args:
        batch: See `step.compute_gradients`.
        class_names: Of every class; empty shows the numbers.

    Returns:
        "labeled" and, of a student, "unlabeled" -> uint8 [height, width, 3].
        Unlabeled images show their likeliest class and its probability,
        where the batch knows it.
    """

    def name(label: int) -> str:
        return class_names[label] if class_names else str(label)

    grids = {
        "labeled": _grid(
            batch["labeled_images"][:_MAX_IMAGES],
            [name(label) for label in batch["labels"][:_MAX_IMAGES]],
        )
    }
    if "unlabeled_images" in batch:
        images = batch["unlabeled_images"][:_MAX_IMAGES]
        captions = [""] * len(images)
        if "soft_labels" in batch:
            captions = [
                f"{name(int(row.argmax()))} {100 * row.max():.0f} %"
                for row in batch["soft_labels"][:_MAX_IMAGES]
            ]
        grids["unlabeled"] = _grid(images, captions)
    return grids


def _grid(images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Return images [num_images, side, side, 3] as one, captions below."""
    side = max(images.shape[1], _MIN_SIDE)
    tile = (side, side + _CAPTION_PIXELS)
    columns = min(_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    grid = Image.new("RGB", (columns * tile[0], rows * tile[1]), "white")
    pen = ImageDraw.Draw(grid)
    for index, (image, caption) in enumerate(
        zip(images, captions, strict=True)
    ):
        left = index % columns * tile[0]
        top = index // columns * tile[1]
        picture = Image.fromarray(np.asarray(image))
        nearest = Image.Resampling.NEAREST
        grid.paste(picture.resize((side, side), nearest), (left, top))
        # The built-in font draws Latin-1 alone.
        text = caption.encode("latin-1", "replace").decode("latin-1")
        pen.text((left + 2, top + side + 1), text[: side // 6], fill="black")
    return np.asarray(grid)
