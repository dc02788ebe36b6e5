"""The published implementations' weights and logits."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from noisy_student_tf.weights import read_foreign, weight_file

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
KERAS = str(FOLDER / "keras2_h5" / "model.h5")
TIMM = str(FOLDER / "timm_safetensors" / "model.safetensors")
TPU = str(FOLDER / "tf1_checkpoint_imagenet_style" / "model.ckpt")
AUTHORS = str(FOLDER / "tf1_checkpoint_noisystudent_style" / "model.ckpt")
SVHN = str(FOLDER / "tf1_checkpoint_svhn_style" / "model.ckpt")
ALL = (KERAS, TIMM, TPU, AUTHORS, SVHN)


def folder_of(source: str) -> str:
    """Return the name of a golden folder, for the names of tests."""
    return pathlib.Path(source).parent.name


class Expected(NamedTuple):
    about: dict[str, Any]
    arrays: Any

    def logits(self, weights: str) -> np.ndarray:
        name = f"logits_{weights}"
        return self.arrays[name if name in self.arrays else "logits"]


def expected(source: str) -> Expected:
    folder = pathlib.Path(source).parent
    about = json.loads((folder / "about.json").read_text())
    return Expected(about, np.load(folder / "expected.npz"))


def import_to(directory: Any, source: str, **options: Any) -> str:
    """Import at the golden resolution; return what was reported."""
    resolution = expected(source).about["resolution"]
    return read_foreign.import_weights(
        source,
        str(directory),
        read_foreign.Options(
            request=weight_file.Hints(resolution=resolution), **options
        ),
    )


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return max|a - b| / std(b), as the bars are given."""
    return float(np.abs(np.asarray(found) - wanted).max() / wanted.std())
