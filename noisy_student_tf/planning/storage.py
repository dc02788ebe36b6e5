"""Bytes that the stages of a run write."""

import dataclasses

from noisy_student_tf import configs, recipes
from noisy_student_tf.planning import compute

_FLOAT16_BYTES = 2
_FLOAT32_BYTES = 4
# Id, class and confidence of a prediction or a selected row.
_ROW_BYTES = 24
# Weights and their averages, and the optimizer's slots beside each weight.
_WEIGHT_COPIES = 2
_SLOTS = {"rmsprop": 2, "sgd": 1}
_OTHER_SLOTS = 2


@dataclasses.dataclass(frozen=True)
class Line:
    """What one stage stores, in bytes."""

    name: str
    num_bytes: float
    what: str


def lines(
    config: configs.Config,
    data: compute.Data,
    *,
    labeled_image_bytes: float,
    unlabeled_image_bytes: float,
) -> list[Line]:
    """Return what every stage stores, for pictures of some mean sizes."""
    row = _FLOAT16_BYTES * config.data.num_classes + _ROW_BYTES
    recipe = recipes.of(config)

    def line_of(stage: recipes.Stage) -> Line | None:
        if stage.kind == "folds":
            one = _model_line(config, recipe.teacher)
            each = one.num_bytes + data.num_labeled * labeled_image_bytes
            return Line(
                stage.folder,
                recipe.num_folds * each,
                f"{recipe.num_folds} teachers with their labeled pictures",
            )
        if stage.model:
            return _model_line(config, stage.model)
        num_images = data.num_unlabeled
        if stage.labeling and stage.labeling.kept_from:
            num_images = data.num_selected
        contents = {
            "labeled": (
                data.num_labeled * labeled_image_bytes,
                f"{data.num_labeled:,} pictures",
            ),
            "unlabeled": (
                data.num_unlabeled * unlabeled_image_bytes,
                f"{data.num_unlabeled:,} pictures",
            ),
            "predictions": (num_images * row, "float16 probabilities"),
            "selection": (
                data.num_selected * _ROW_BYTES,
                f"{data.num_selected:,} ids",
            ),
            "pseudo_labeled": (
                data.num_selected * (unlabeled_image_bytes + row),
                "the selected pictures once, with their copies as a number",
            ),
        }
        if stage.kind not in contents:
            return None
        return Line(stage.folder, *contents[stage.kind])

    return list(filter(None, map(line_of, recipe.stages)))


def _model_line(config: configs.Config, model: recipes.Model) -> Line:
    """Return what a model's folder holds: weights, and checkpoints."""
    num_parameters = compute.count_parameters(model.architecture, config)
    weights = _WEIGHT_COPIES * _FLOAT32_BYTES * num_parameters
    if model.predictions_from:
        return Line(model.folder, 0, "what is said of held-out images")
    if model.adopted_from:
        return Line(model.folder, weights, "weights")
    # The best one is kept beside the newest.
    num_kept = config.training.keep_checkpoints + 1
    checkpoints = num_kept * training_state_bytes(config, num_parameters)
    return Line(
        model.folder,
        weights + checkpoints,
        f"weights and {num_kept} checkpoints",
    )


def training_state_bytes(config: configs.Config, num_parameters: int) -> int:
    """Return the bytes of the weights, averages and the optimizer's slots."""
    slots = _SLOTS.get(config.optimizer.name, _OTHER_SLOTS)
    return _FLOAT32_BYTES * num_parameters * (_WEIGHT_COPIES + slots)
