"""Robustness sets on disk: names of their parts, folders, and sequences.

A set of corrupted images is a folder `CORRUPTION/SEVERITY` of labeled images,
as ImageNet-C is published; a set of perturbed sequences is a folder
`PERTURBATION`, as ImageNet-P is. Ours hold shards where the published ones
hold class folders.
"""

import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.records import schema, shards

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

_FRAMES = "sequence/frames"


def is_noise(perturbation: str) -> bool:
    """Tell whether frames are compared with the first one, the clean one.

    The frames of all other perturbations follow each other in time.
    """
    return "noise" in perturbation


def corruption_directory(root: str, corruption: str, severity: int) -> str:
    """Return the folder of one corruption at one severity."""
    return files.join(root, corruption, str(severity))


def encode_sequence(
    frames: list[bytes], *, image_id: bytes, label: int
) -> bytes:
    """Serialize the frames of one sequence.

    Args:
        frames: Encoded pictures of one size.
        image_id: Of the image that they were made from.
        label: 0-based class.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature[_FRAMES].bytes_list.value.extend(frames)
    feature[schema.IMAGE_ID].bytes_list.value.append(image_id)
    feature[schema.LABEL].int64_list.value.append(label)
    return example.SerializeToString(deterministic=True)


def decode_sequence(record: bytes) -> tuple[tf.Tensor, int]:
    """Read what `encode_sequence` wrote.

    Returns:
        The frames, uint8 [num_frames, height, width, 3], and the label.

    Raises:
        ValueError: The record holds no sequence.
    """
    feature = tf.train.Example.FromString(record).features.feature
    encoded = list(feature[_FRAMES].bytes_list.value)
    if not encoded:
        raise ValueError(
            f"A record has no {_FRAMES}: it is no sequence. Name a directory "
            "that python -m data_prep.build_robustness wrote."
        )
    frames = tf.stack(
        [tf.io.decode_png(frame, channels=3) for frame in encoded]
    )
    return frames, int(feature[schema.LABEL].int64_list.value[0])


def sequence_records(directory: str) -> list[str]:
    """Return the shards of one perturbation's sequences.

    Raises:
        FileNotFoundError: The directory is missing or unfinished.
    """
    return list(shards.open_split(directory, SPLIT).paths)
