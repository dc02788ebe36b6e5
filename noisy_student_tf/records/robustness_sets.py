"""Robustness sets on disk: names of their parts, folders, and sequences.

A set of corrupted images is a folder `CORRUPTION/SEVERITY` of labeled images,
as ImageNet-C is published; a set of perturbed sequences is a folder
`PERTURBATION`, as ImageNet-P is. Ours hold shards where the published ones
hold class folders.
"""

import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.records import schema

# Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
# Corruptions and Perturbations", 2019: the 15 of mCE and the 4 extra ones.
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SEVERITIES = (1, 2, 3, 4, 5)

# The 10 of mFR.
PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)

SPLIT = "test"
CORRUPTED, PERTURBED = "corrupted", "perturbed"

_STRIP = "sequence/strip"


def is_noise(perturbation: str) -> bool:
    """Tell whether frames are compared with the first one, the clean one.

    The frames of all other perturbations follow each other in time.
    """
    return "noise" in perturbation


def corruption_directory(root: str, corruption: str, severity: int) -> str:
    """Return the folder of one corruption at one severity."""
    return files.join(root, corruption, str(severity))


def encode_sequence(strip: bytes, *, image_id: bytes, label: int) -> bytes:
    """Serialize one sequence.

    Args:
        strip: A PNG of all frames, which are squares, one below the other:
            it decodes many times faster than as many pictures.
        image_id: Of the image that they were made from.
        label: 0-based class.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature[_STRIP].bytes_list.value.append(strip)
    feature[schema.IMAGE_ID].bytes_list.value.append(image_id)
    feature[schema.LABEL].int64_list.value.append(label)
    return example.SerializeToString(deterministic=True)


def decode_sequence(record: bytes) -> tuple[tf.Tensor, int]:
    """Read what `encode_sequence` wrote.

    Returns:
        The frames, uint8 [num_frames, side, side, 3], and the label.

    Raises:
        ValueError: The record holds no sequence.
    """
    example = tf.train.Example.FromString(record)
    encoded = schema.stored_bytes(example, _STRIP)
    if not encoded:
        raise ValueError(
            f"A record has no {_STRIP}: it is no sequence. Name a directory "
            "that python -m data_prep.build_robustness wrote."
        )
    strip = tf.io.decode_png(encoded, channels=3)
    side = strip.shape[1]
    frames = tf.reshape(strip, [-1, side, side, 3])
    label = example.features.feature[schema.LABEL].int64_list.value[0]
    return frames, int(label)
