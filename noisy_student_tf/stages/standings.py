"""Whether the models of a run have learned: measured, and asked of teachers."""

import dataclasses
import math
from typing import Any

import numpy as np

from noisy_student_tf import recipes
from noisy_student_tf.evaluation import evaluate
from noisy_student_tf.evaluation.significance import chance
from noisy_student_tf.model import specs
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import runs

# Of the training images so many are looked at.
_MAX_TRAINING_IMAGES = 10_000
# A teacher below has not even learned what it was trained on.
_LEARNED_ACCURACY = 0.9

_IMAGES = {
    "validation": "validation images",
    "folds": "training images, each judged by a teacher that never saw it",
    "train": "training images, without noise",
}


def measure(
    run: runs.Run,
    model: recipes.Model,
    logits_fn: evaluate.LogitsFn,
    spec: specs.ModelSpec,
) -> dict[str, dict[str, Any]]:
    """Return how a measured model does on validation and training images.

    Args:
        run: Whose images they are.
        model: What it says of the validation images lies in its folder.
        logits_fn: See `evaluate.evaluate`.
        spec: The model's.

    Returns:
        What `chance.read` reads from the model's manifest.
    """
    found = {}
    path = held_out.path(runs.directory(run, model), "validation")
    if "validation" in shards.read_manifest(run.workdir.labeled)["splits"]:
        choices = held_out.read_choices(path)
        found["validation"] = chance.standing(choices.labels, choices.classes)
    stream = runs.test_stream(run, spec, split="train")
    num_batches = math.ceil(
        _MAX_TRAINING_IMAGES / run.config.training.evaluation_batch_size
    )
    batches = evaluate.valid_batches(
        logits_fn, stream.take(num_batches), spec.num_classes
    )
    answers = [(labels, logits.argmax(-1)) for logits, labels, _ in batches]
    labels, named = map(np.concatenate, zip(*answers, strict=True))
    found["train"] = chance.standing(labels, named)
    return {split: dataclasses.asdict(each) for split, each in found.items()}


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
    run: runs.Run, standings: dict[str, chance.Standing], split: str
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
    standings: dict[str, chance.Standing],
) -> str:
    """Say what to change, from whether it knows its own training images."""
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
