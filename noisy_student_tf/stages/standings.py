"""Whether a teacher has learned enough to label, asked before it does."""

from absl import logging

from noisy_student_tf import recipes
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.evaluation.significance import chance
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs

# A teacher below has not even learned what it was trained on.
_LEARNED_ACCURACY = 0.9

_IMAGES = {
    "validation": "validation images",
    "folds": "training images, each judged by a teacher that never saw it",
    "train": "training images, without noise",
}


def check_teacher(run: runs.Run, teacher: recipes.Model) -> None:
    """Refuse a teacher that has learned no more than to name one class.

    Raises:
        ValueError: It is not significantly better than that, and
            --self_training.allow_weak_teacher does not go on.
    """
    if run.config.self_training.allow_weak_teacher:
        return
    manifest = shards.read_manifest(runs.directory(run, teacher))
    standings = chance.read(manifest)
    if teacher == run.recipe.teacher and shards.is_finished(run.workdir.folds):
        standings |= chance.read(shards.read_manifest(run.workdir.folds))
    if not standings:
        # Of a model that an earlier version closed nothing is known.
        if teacher.predictions_from:
            logging.warning(
                "--self_training.teacher_predictions=%s: whether it is better "
                "than naming one class was not checked, since it does not "
                "have all validation, or all labeled, images. Add their rows.",
                teacher.predictions_from,
            )
        return
    split = chance.deciding(standings)
    if standings[split].is_above_chance:
        return
    shown = [split, *(other for other in ("train",) if other != split)]
    numbers = " ".join(_describe(run, standings, each) for each in shown)
    raise ValueError(
        f"{teacher.title} is not significantly better than naming one class "
        "for every image: its pseudo-labels would teach nothing else. "
        f"{numbers} {_advice(run, teacher, standings)} The changed run takes "
        "another --workdir. --self_training.allow_weak_teacher goes on here."
    )


def _describe(
    run: runs.Run, standings: dict[str, metrics.Standing], split: str
) -> str:
    found = standings[split]
    name = runs.class_names(run)[found.most_frequent_class]
    return (
        f"On {found.num_images:,} {_IMAGES[split]}: "
        f"{chance.describe(found, name)}."
    )


def _advice(
    run: runs.Run,
    teacher: recipes.Model,
    standings: dict[str, metrics.Standing],
) -> str:
    """Say what to change, from whether it knows its own training images."""
    if teacher.predictions_from:
        return (
            "--self_training.teacher_predictions="
            f"{teacher.predictions_from}: check the order of its classes, "
            "which is that of the class names in labeled/manifest.json, and "
            "that its rows are named as the images are."
        )
    if teacher.adopted_from:
        return (
            f"--self_training.teacher_directory={teacher.adopted_from}: name "
            "a better one, or leave it empty and train the teacher here."
        )
    optimizer = run.config.optimizer
    epochs = "student_epochs" if teacher.iteration else "teacher_epochs"
    length = f"--training.{epochs}={teacher.epochs:g}"
    if teacher.min_steps:
        # Few labels: epochs are so short that the least length decides.
        length = f"--training.min_steps={teacher.min_steps}"
    if standings["train"].accuracy < _LEARNED_ACCURACY:
        return (
            "It has not learned its own training images. Try a lower "
            f"--optimizer.base_learning_rate={optimizer.base_learning_rate:g} "
            f"(or a higher one, if its loss falls slowly), a larger {length}, "
            "less noise, or trained weights by --model.initial_weights."
        )
    return (
        "It knows its own training images, and not what they have in common. "
        "Give more labeled images, trained weights by --model.initial_weights, "
        "or a --model.resolution that shows what sets the classes apart."
    )
