"""Measures any models on any sets: those of ImageNet, and one's own."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.sources import evaluation_sources
from noisy_student_tf import files
from noisy_student_tf.evaluation import (
    class_metrics,
    evaluate,
    label_sets,
    published,
    results,
    robustness,
)
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import classifiers
from noisy_student_tf.stages import robustness as robustness_stage

Rows = list[results.Row]

IMAGENET_A, IMAGENET_R, REAL = "imagenet_a", "imagenet_r", "imagenet_real"
IMAGENET_C, IMAGENET_P = "imagenet_c", "imagenet_p"
# How the name of a set ends that is of corruptions, or of sequences.
_CORRUPTED, _PERTURBED = "_c", "_p"
_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """A set to measure on.

    Attributes:
        name: What decides the rule: `imagenet_a` and `imagenet_r` restrict
            the classes, `imagenet_real` has several right ones, names ending
            in `_c` and `_p` are corruptions and sequences.
        source: Where it lies.
    """

    name: str
    source: str

    @property
    def is_corrupted(self) -> bool:
        """Tell whether it is a folder of corruptions and severities."""
        return self.name.endswith(_CORRUPTED)

    @property
    def is_perturbed(self) -> bool:
        """Tell whether it is a folder of perturbations."""
        return self.name.endswith(_PERTURBED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How it is measured.

    Attributes:
        batch_size: Images at once; results do not depend on it.
        directory: Where what is said of each image is kept, a folder a model.
        real_labels: Path of ReaL's `real.json`.
        difficulty: Of sequences: 1, 2 or 3.
        fgsm_epsilons: In pixels of [0, 255]; empty: no FGSM.
        pgd_epsilons: In pixels of [0, 255]; empty: no PGD.
        pgd_iterations: Steps of PGD.
    """

    batch_size: int
    directory: str
    real_labels: str = ""
    difficulty: int = 1
    fgsm_epsilons: tuple[float, ...] = ()
    pgd_epsilons: tuple[float, ...] = ()
    pgd_iterations: int = 10


def parse_set(text: str) -> EvaluationSet:
    """Read one entry of `--sets`: NAME=SOURCE.

    Raises:
        ValueError: It is not of this form.
    """
    name, equals, source = text.partition("=")
    if not (name and equals and source):
        raise ValueError(
            f"--sets={text}: accepted is NAME=SOURCE, several separated by "
            "commas, such as imagenet_v2=folder:/data/imagenet-v2 or "
            "imagenet_c=/data/imagenet-c."
        )
    return EvaluationSet(name, files.expand_home(source))


def measure(
    models: Sequence[classifiers.Classifier],
    sets: Sequence[EvaluationSet],
    options: Options,
) -> Rows:
    """Measure models on sets.

    Corruptions and sequences of ImageNet are normalized by AlexNet, all
    others by the first model.

    Args:
        models: At least one.
        sets: At least one.
        options: How.

    Returns:
        Rows of `results.json`.

    Raises:
        ValueError: A set does not fit a model, or cannot be read.
        FileNotFoundError: A set, or a part of it, does not exist.
    """
    rows: Rows = []
    for each in sets:
        of_set: Rows = []
        for classifier in models:
            logging.info("%s on %s.", classifier.name, each.name)
            of_set += [
                {
                    **classifier.row(set=each.name, split="test"),
                    **row,
                    "architecture": classifier.architecture,
                }
                for row in _measure_one(classifier, each, options)
            ]
        rows += _normalize(of_set, each, models[0].name)
    return rows


def _measure_one(
    classifier: classifiers.Classifier, each: EvaluationSet, options: Options
) -> Rows:
    if each.is_corrupted:
        return [_corruptions(classifier, each.source, options.batch_size)]
    if each.is_perturbed:
        return [_perturbations(classifier, each.source, options.difficulty)]
    rows = [_plain(classifier, each, options)]
    if options.fgsm_epsilons or options.pgd_epsilons:
        stream, _, _ = _open_stream(classifier, each.source, options.batch_size)
        rows += robustness.measure_attacks(
            classifier.logits_fn,
            stream,
            fgsm_epsilons=options.fgsm_epsilons,
            pgd_epsilons=options.pgd_epsilons,
            pgd_iterations=options.pgd_iterations,
            gradient_sign=classifier.gradient_sign,
        )
    return rows


def _normalize(rows: Rows, each: EvaluationSet, first_model: str) -> Rows:
    if each.name not in (IMAGENET_C, IMAGENET_P):
        return robustness_stage.normalize(rows, baseline=first_model)
    return [robustness.normalize(row, None, robustness.ALEXNET) for row in rows]


def _open_stream(
    classifier: classifiers.Classifier, source: str, batch_size: int
) -> tuple[tf.data.Dataset, evaluation_sources.LabeledImages, list[int]]:
    """Open a labeled source for a model.

    Returns:
        The batches, with the model's labels; the images; and the model's
        class of each class of the source.
    """
    images = evaluation_sources.open_labeled(source)
    classes = _map_classes(classifier, images.source.class_names, source)
    stream = eval_stream.make_encoded_stream(
        images.examples(classes),
        resolution=classifier.resolution,
        batch_size=batch_size,
        crop=classifier.crop,
    )
    return stream, images, classes


def _map_classes(
    classifier: classifiers.Classifier, class_names: Sequence[str], where: str
) -> list[int]:
    synsets: list[str] = []
    if classifier.num_classes == _IMAGENET_CLASSES:
        synsets = evaluation_sources.imagenet_synsets()
    return label_sets.map_classes(
        class_names,
        model_names=classifier.class_names,
        num_classes=classifier.num_classes,
        synsets=synsets,
        where=where,
    )


def _plain(
    classifier: classifiers.Classifier, each: EvaluationSet, options: Options
) -> dict[str, Any]:
    """Measure on labeled images."""
    stream, images, classes = _open_stream(
        classifier, each.source, options.batch_size
    )
    if each.name == REAL:
        return class_metrics.UNKNOWN | label_sets.evaluate_multi_label(
            classifier.logits_fn,
            stream,
            classifier.num_classes,
            _read_real(images, options.real_labels),
        )
    used = _restricted_classes(each, images, classes)
    if used is None:
        directory = files.join(options.directory, classifier.name)
        files.make_directories(directory)
        return evaluate.evaluate_and_keep(
            classifier.logits_fn,
            stream,
            classifier.num_classes,
            path=held_out.path(directory, each.name),
            class_names=classifier.class_names,
            where=f"{classifier.name}, {each.name}",
        )
    views = evaluate.evaluate_views(
        classifier.logits_fn,
        stream,
        classifier.num_classes,
        {"restricted": used, "all": None},
    )
    restricted, unrestricted = views["restricted"], views["all"]
    return {
        **class_metrics.UNKNOWN,
        **restricted,
        "num_classes": len(used),
        "accuracy_of_all_classes": unrestricted["accuracy"],
        "top5_accuracy_of_all_classes": unrestricted["top5_accuracy"],
    }


def _restricted_classes(
    each: EvaluationSet,
    images: evaluation_sources.LabeledImages,
    classes: Sequence[int],
) -> list[int] | None:
    """Return the classes to choose from, None for all.

    Raises:
        ValueError: ImageNet-A has an image of another class than its 200.
    """
    if each.name not in (IMAGENET_A, IMAGENET_R):
        return None
    found = {classes[item.label or 0] for item in images.listed}
    if each.name == IMAGENET_R:
        return sorted(found)
    others = sorted(found - set(published.IMAGENET_A_CLASSES))
    if others:
        raise ValueError(
            f"{each.source}: it has images of the classes {others[:5]}, which "
            "are not among the 200 of ImageNet-A. Check that it is "
            "ImageNet-A, and that its folders are named by synset."
        )
    return list(published.IMAGENET_A_CLASSES)


def _read_real(
    images: evaluation_sources.LabeledImages, path: str
) -> dict[bytes, list[int]]:
    """Return image id -> its ReaL labels."""
    if not path:
        raise ValueError(
            "--real_labels is missing: imagenet_real is the validation set "
            "with the labels of real.json "
            "(github.com/google-research/reassessed-imagenet)."
        )
    try:
        content = files.read_json(path)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--real_labels={path}: no JSON ({error}). Fetch real.json again."
        ) from error
    right = label_sets.real_labels(
        content,
        [item.key for item in images.listed],
        images.source.specification,
    )
    return {
        item.image_id: labels
        for item, labels in zip(images.listed, right, strict=True)
    }


def _corruptions(
    classifier: classifiers.Classifier, root: str, batch_size: int
) -> dict[str, Any]:
    """Measure on corruptions: our shards, or folders as published."""
    parts = evaluation_sources.corrupted_parts(root)
    sources = list(parts.values())
    if all(map(shards.is_finished, sources)):
        class_names = shards.read_manifest(sources[0])["class_names"]
        _map_classes(classifier, class_names, sources[0])
        return robustness.measure_corruptions(
            classifier.logits_fn,
            *robustness_stage.corruption_stream(root, classifier, batch_size),
        )

    def map_classes(images: evaluation_sources.LabeledImages) -> list[int]:
        return _map_classes(
            classifier, images.source.class_names, images.source.specification
        )

    # Inside the stream an error would come out as TensorFlow's.
    map_classes(evaluation_sources.open_labeled(sources[0]))
    # The published images are cropped: they are not cropped again, and not
    # resized where they have the model's size.
    stream = eval_stream.make_encoded_stream(
        evaluation_sources.chain(sources, map_classes),
        resolution=classifier.resolution,
        batch_size=batch_size,
        crop="whole",
    )
    return robustness.measure_corruptions(
        classifier.logits_fn, stream, list(parts)
    )


def _perturbations(
    classifier: classifiers.Classifier, root: str, difficulty: int
) -> dict[str, Any]:
    """Measure on sequences: ours, or videos as published."""

    classes_of = functools.cache(
        lambda names: _map_classes(classifier, names, root)
    )
    return robustness.measure_perturbations(
        classifier.logits_fn,
        robustness_stage.sequence_readers(
            root,
            classifier,
            difficulty=difficulty,
            map_label=lambda opened, label: classes_of(opened.class_names)[
                label
            ],
        ),
        difficulty=difficulty,
    )
