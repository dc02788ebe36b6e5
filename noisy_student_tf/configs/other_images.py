"""What of a preset holds for other images than its own."""

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree

# What a preset says of its own images, and not of how to learn from such.
_OF_ITS_IMAGES = (
    "unlabeled",
    "evaluation",
    "num_classes",
    "labeled_per_class",
    "evaluation_fraction",
    "validation_fraction",
)


def adapt(config: configs.Config, labeled: str) -> configs.Config:
    """Return a preset for other images than its own, if it has some.

    What it says of its own images does not hold of them: their number of
    classes, held-out images and shares are those of no preset, and splits are
    stratified.
    """
    if not config.data.labeled or config.data.labeled == labeled:
        return config
    plain = configs.DataConfig()
    values = {f"data.{n}": getattr(plain, n) for n in _OF_ITS_IMAGES}
    return config_tree.override(
        config,
        {**values, "data.labeled": labeled, "data.split": "stratified"},
    )
