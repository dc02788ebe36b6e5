"""Steps, images and multiply-adds of every stage of a run."""

import dataclasses
import math
from collections.abc import Iterator

from noisy_student_tf import configs
from noisy_student_tf.configs import derived
from noisy_student_tf.model import architectures, cost, specs
from noisy_student_tf.training import plan as plans

# Forward, and two of the same size backward: for inputs and for weights.
TRAINING_PASSES = 3
# Recomputing the activations is another forward.
RECOMPUTING_PASSES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """How many images there are.

    Attributes:
        num_labeled: Labeled training images.
        num_unlabeled: Images that the teacher labels.
        num_rows: Pseudo-labeled images of one pass, copies counted.
        num_selected: Different images among them.
    """

    num_labeled: int
    num_unlabeled: int
    num_rows: int
    num_selected: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage computes.

    Attributes:
        name: As in the run's folder.
        model: Its architecture.
        resolution: Side of its images in pixels.
        num_steps: Training steps, or batches of prediction.
        labeled_images: Seen, over all steps.
        unlabeled_images: Seen, over all steps.
        passes: Multiples of one forward.
        forward_multiply_adds: Of one image.
    """

    name: str
    model: str
    resolution: int
    num_steps: int
    labeled_images: int
    unlabeled_images: int
    passes: int
    forward_multiply_adds: float

    @property
    def images(self) -> int:
        """Images seen, labeled or not."""
        return self.labeled_images + self.unlabeled_images

    @property
    def multiply_adds(self) -> float:
        """All passes over all images."""
        return self.passes * self.images * self.forward_multiply_adds


def stages(
    config: configs.Config, data: Data, *, recompute: bool
) -> Iterator[Stage]:
    """Yield the stages that use accelerators, in order.

    A teacher that was trained elsewhere costs nothing here. Predictions are
    those of every iteration over all unlabeled images.

    Args:
        config: The run.
        data: Its images.
        recompute: Whether students recompute their activations.
    """
    teacher = derived.teacher_model(config)
    training = TRAINING_PASSES
    if not config.self_training.teacher_directory:
        yield _trained("teacher", config, teacher, data, passes=training)
    if recompute:
        training = RECOMPUTING_PASSES
    for iteration in range(1, config.self_training.num_iterations + 1):
        labeler = teacher if iteration == 1 else config.model
        yield _predicted(f"predictions_{iteration}", config, labeler, data)
        name = f"student_{iteration}"
        yield _trained(name, config, config.model, data, passes=training)
    if config.fixres.resolution:
        model = dataclasses.replace(
            config.model, resolution=config.fixres.resolution
        )
        yield _trained("fixres", config, model, data, passes=training)


def _trained(
    name: str,
    config: configs.Config,
    model: configs.ModelConfig,
    data: Data,
    *,
    passes: int,
) -> Stage:
    epochs = {
        "teacher": config.training.teacher_epochs,
        "fixres": config.fixres.epochs,
    }.get(name, config.training.student_epochs)
    plan = plans.make_plan(
        config,
        num_labeled=data.num_labeled,
        epochs=epochs,
        has_unlabeled=name.startswith("student"),
    )
    return Stage(
        name=name,
        model=model.name,
        resolution=model.resolution,
        num_steps=plan.total_steps,
        labeled_images=plan.total_steps * plan.labeled_batch_size,
        unlabeled_images=plan.total_steps * plan.unlabeled_batch_size,
        passes=passes,
        forward_multiply_adds=forward_multiply_adds(model, config),
    )


def _predicted(
    name: str,
    config: configs.Config,
    model: configs.ModelConfig,
    data: Data,
) -> Stage:
    batch_size = config.training.evaluation_batch_size
    return Stage(
        name=name,
        model=model.name,
        resolution=model.resolution,
        num_steps=math.ceil(data.num_unlabeled / batch_size),
        labeled_images=0,
        unlabeled_images=data.num_unlabeled,
        passes=1,
        forward_multiply_adds=forward_multiply_adds(model, config),
    )


def forward_multiply_adds(
    model: configs.ModelConfig, config: configs.Config
) -> float:
    """Return the multiply-adds of classifying one image."""
    return cost.multiply_adds(model_spec(model, config))


def model_spec(
    model: configs.ModelConfig, config: configs.Config
) -> specs.ModelSpec:
    """Return the architecture with the run's number of classes."""
    return architectures.make_spec(
        model, num_classes=config.data.num_classes, class_names=()
    )
