"""JPEGs and small pictures for benchmarks, from photographs that packages ship.

scikit-learn brings two, scikit-image some more; crops, flips and turns of them
make as many different pictures as are asked for.
"""

import io

import numpy as np
import PIL.Image
import skimage.data
import sklearn.datasets

_NAMES = ("astronaut", "coffee", "chelsea", "rocket")
_QUALITY = 90


def load() -> list[np.ndarray]:
    """Return whole photographs, uint8 [height, width, 3] each."""
    photographs = [
        sklearn.datasets.load_sample_image(name)
        for name in ("china.jpg", "flower.jpg")
    ]
    for name in _NAMES:
        try:
            photographs.append(getattr(skimage.data, name)())
        except Exception:
            # Some are downloaded by newer versions: those at hand will do.
            continue
    return photographs


def crops(count: int, *, width: int, height: int) -> list[np.ndarray]:
    """Return parts of the photographs, uint8 [height, width, 3] each."""
    rng = np.random.default_rng(0)
    photographs = load()
    pictures = []
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        share = rng.uniform(0.6, 1.0)
        rows, columns = (int(size * share) for size in photograph.shape[:2])
        top = rng.integers(photograph.shape[0] - rows + 1)
        left = rng.integers(photograph.shape[1] - columns + 1)
        part = photograph[top : top + rows, left : left + columns]
        part = part[:, :: rng.choice([-1, 1])]
        resized = PIL.Image.fromarray(np.ascontiguousarray(part)).resize(
            (width, height), PIL.Image.Resampling.BICUBIC
        )
        pictures.append(np.asarray(resized))
    return pictures


def encode(picture: np.ndarray, kind: str) -> bytes:
    """Return a picture as JPEG or PNG."""
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, kind, quality=_QUALITY)
    return file.getvalue()
