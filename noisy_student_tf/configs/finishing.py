"""Settings of what follows training: fine-tuning, measuring."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixResConfig:
    """Fine-tuning at a higher resolution on clean labeled images."""

    resolution: int = options.option(
        0, "Side of the fine-tuning images in pixels. 0: no fine-tuning."
    )
    epochs: float = options.option(
        1.5, "Labeled epochs. Paper, Section 3.1: 1.5."
    )
    trainable: Literal["classifier_and_last_norm", "after_frozen_blocks"] = (
        options.option(
            "classifier_and_last_norm",
            "What trains; which layers the paper freezes is unpublished.",
        )
    )
    frozen_blocks: int = options.option(
        0, "Blocks frozen with the stem by --trainable=after_frozen_blocks."
    )
    base_learning_rate: float = options.option(
        0.0,
        "Constant rate per 256 labeled images. 0: what the student's schedule "
        "ended with.",
    )

    def __post_init__(self) -> None:
        options.check_choices(self, "fixres")
        for name in ("resolution", "frozen_blocks", "base_learning_rate"):
            value = getattr(self, name)
            options.check(value >= 0, f"fixres.{name}", value, "0 or more")
        options.check(self.epochs > 0, "fixres.epochs", self.epochs, "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of the finished models beside their accuracy."""

    robustness: bool = options.option(
        False,
        "Measure all models on corrupted images, perturbed sequences and "
        "under attack, made of the held-out images.",
    )
    robustness_images: int = options.option(
        0, "Held-out images that are corrupted, and attacked. 0: all."
    )
    robustness_sequences: int = options.option(
        0, "Held-out images that become sequences. 0: all."
    )

    def __post_init__(self) -> None:
        for name in ("robustness_images", "robustness_sequences"):
            value = getattr(self, name)
            options.check(value >= 0, f"evaluation.{name}", value, "0 or more")
