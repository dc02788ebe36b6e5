"""Steps, images and multiply-adds of every stage of a run."""

import dataclasses
import math
from collections.abc import Iterator

from noisy_student_tf import configs, recipes
from noisy_student_tf.model import architectures, cost, specs
from noisy_student_tf.training import progress

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
        passes: Multiples of one forward, fractional where blocks rest.
        forward_multiply_adds: Of one image.
    """

    name: str
    model: str
    resolution: int
    num_steps: int
    labeled_images: int
    unlabeled_images: int
    passes: float
    forward_multiply_adds: float

    @property
    def images(self) -> int:
        """Images seen, labeled or not."""
        return self.labeled_images + self.unlabeled_images

    @property
    def multiply_adds(self) -> float:
        """All passes over all images."""
        return self.passes * self.images * self.forward_multiply_adds


def stages(config: configs.Config, data: Data) -> Iterator[Stage]:
    """Yield the stages that use accelerators, in order.

    A teacher that was trained elsewhere costs nothing here, nor does a table
    of its probabilities.
    """
    for stage in recipes.of(config).stages:
        if stage.model and not (
            stage.model.adopted_from or stage.model.predictions_from
        ):
            yield _trained(config, stage.model, data)
        elif stage.kind == "folds":
            yield _folds(config, data)
        elif (
            stage.labeling
            and stage.kind == "predictions"
            and not stage.labeling.is_given
        ):
            yield _predicted(config, stage.labeling, data)


def _trained(config: configs.Config, model: recipes.Model, data: Data) -> Stage:
    durations = progress.make_durations(
        config,
        num_labeled=data.num_labeled,
        epochs=model.epochs,
        min_steps=model.min_steps,
        has_unlabeled=bool(model.labelings),
    )
    architecture = model.architecture
    return Stage(
        name=model.folder,
        model=architecture.name,
        resolution=architecture.resolution,
        num_steps=durations.total_steps,
        labeled_images=durations.total_steps * durations.labeled_batch_size,
        unlabeled_images=durations.total_steps * durations.unlabeled_batch_size,
        passes=_passes(config, model),
        forward_multiply_adds=forward_multiply_adds(architecture, config),
    )


def _passes(config: configs.Config, model: recipes.Model) -> float:
    """Return the passes of a training; what rests goes forward alone."""
    recomputes = model.architecture.recompute
    passes = RECOMPUTING_PASSES if recomputes else TRAINING_PASSES
    num_resting = 0 if model.is_finetuned else config.training.frozen_blocks
    if not num_resting:
        return passes
    parts = architectures.parts(model_spec(model.architecture, config))
    costs = [part.multiply_adds for part in parts]
    # The stem rests, too.
    return passes - (passes - 1) * sum(costs[: num_resting + 1]) / sum(costs)


def _folds(config: configs.Config, data: Data) -> Stage:
    """Return the teachers of all folds together."""
    recipe = recipes.of(config)
    num_judged = data.num_labeled / recipe.num_folds
    left = dataclasses.replace(
        data, num_labeled=max(1, round(data.num_labeled - num_judged))
    )
    one = _trained(config, recipe.teacher, left)
    return dataclasses.replace(
        one,
        name="folds",
        num_steps=recipe.num_folds * one.num_steps,
        labeled_images=recipe.num_folds * one.labeled_images,
    )


def _predicted(
    config: configs.Config, labeling: recipes.Labeling, data: Data
) -> Stage:
    teacher = labeling.teacher
    if isinstance(teacher, str):
        # One that only selects: taken to be as large as the first teacher.
        teacher = recipes.of(config).teacher
    num_images = data.num_selected if labeling.kept_from else data.num_unlabeled
    batch_size = config.training.evaluation_batch_size
    return Stage(
        name=labeling.predictions,
        model=teacher.architecture.name,
        resolution=teacher.architecture.resolution,
        num_steps=math.ceil(num_images / batch_size),
        labeled_images=0,
        unlabeled_images=num_images,
        passes=1,
        forward_multiply_adds=forward_multiply_adds(
            teacher.architecture, config
        ),
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


def count_parameters(model: configs.ModelConfig, config: configs.Config) -> int:
    """Return the number of an architecture's parameters."""
    return cost.count_parameters(model_spec(model, config))
