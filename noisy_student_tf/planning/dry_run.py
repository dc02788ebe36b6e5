"""What a run would do: counts, disk space, stages and their estimated time.

Nothing is written. The students' network is timed on this machine; estimates
are multiply-adds over that rate, which another network would not have: small
ones on small pictures make a fifth of what large ones make in a second.
"""

import time
from collections.abc import Iterator

import tensorflow as tf

from data_prep.shards import manifests
from data_prep.sources import items
from noisy_student_tf import (
    configs,
    files,
    heaps,
    recipes,
    texts,
    workdirs,
)
from noisy_student_tf.configs import config_tree
from noisy_student_tf.evaluation.significance import cautions
from noisy_student_tf.model import architectures, cost, saved, specs
from noisy_student_tf.planning import (
    accelerators,
    compute,
    counting,
    memory,
    storage,
)
from noisy_student_tf.pseudo_labels import given
from noisy_student_tf.records import shards
from noisy_student_tf.weights import packages

# Of one image. Beyond, EfficientNet-B0 is timed in the network's place: a large
# one may take more memory than this machine has.
_MAX_TIMED_MULTIPLY_ADDS = 2e9
_TIMED_BATCH_SIZE = 16
_TIMED_CALLS = 5
# Of more the extremes are in the notes.
_MAX_SHOWN_CLASSES = 50
# 15 corruptions at 5 severities; 10 perturbations of about 30 frames.
_CORRUPTED_PER_IMAGE = 75
_FRAMES_PER_SEQUENCE = 300

# Of given probabilities, where not all pictures are read.
_ROWS_LOOKED_AT = 1000

# What a stage does, and the seconds that takes; None: not estimated.
_Estimate = tuple[str, float | None]


def describe(
    config: configs.Config,
    workdir: workdirs.Workdir,
    *,
    reads_all: bool = False,
    accelerator: accelerators.Accelerator | None = None,
) -> str:
    """Return a table of the stages, after checking what can be checked.

    Args:
        config: Of the run.
        workdir: Where it would write.
        reads_all: Whether every picture is read and checked, or a few.
        accelerator: What the run is meant for; None: nothing is said of its
            memory.

    Raises:
        ValueError: The configuration, a source or the workdir is not
            accepted, or the disk or the accelerator's memory is too small.
        FileNotFoundError: A source or the given teacher does not exist.
    """
    workdirs.check_config(config, workdir)
    saved.check_starts(config, packages.announced(config.model.initial_weights))
    counts = counting.count_images(config, workdir, reads_all=reads_all)
    data = compute.Data(
        num_labeled=counts.train,
        num_unlabeled=counts.unlabeled,
        num_rows=counts.unlabeled,
        num_selected=counts.unlabeled,
    )
    config = config_tree.override(
        config, {"data.num_classes": counts.num_classes}
    )
    if accelerator:
        memory.check(config, accelerator)
    _check_predictions(config, counts, reads_all=reads_all)
    needed = _needed_bytes(config, counts, data)
    lines = [
        *describe_images(counts, reads_all=reads_all),
        f"disk: about {texts.gigabytes(needed, 2)}, free "
        + _free_room(workdir, needed),
        "",
    ]
    rows = [("stage", "state", "work", "about")]
    rows += [
        _describe_stage(stage, estimate, workdir)
        for stage, estimate in _estimates(config, counts, data)
    ]
    return "\n".join([*lines, texts.align(rows, num_names=4)])


def _free_room(workdir: workdirs.Workdir, needed: float) -> str:
    """Return what the workdir's disk has left, in words.

    Raises:
        ValueError: It is less than the run needs.
    """
    free = files.free_bytes(workdir.root)
    if free is None:
        return "unknown (remote)"
    if free < needed:
        raise ValueError(
            f"--workdir={workdir.root}: the run needs about "
            f"{texts.gigabytes(needed, 2)}, {texts.gigabytes(free, 2)} are "
            "free. Free some, or name another directory."
        )
    return texts.gigabytes(free, 2)


def _check_predictions(
    config: configs.Config, counts: counting.Counts, *, reads_all: bool
) -> None:
    """Look into given probabilities: first rows, or all."""
    pattern = config.self_training.teacher_predictions
    if pattern and counts.class_names:
        given.read(
            pattern,
            class_names=counts.class_names,
            max_rows=0 if reads_all else _ROWS_LOOKED_AT,
        )


def _describe_stage(
    stage: recipes.Stage, estimate: _Estimate, workdir: workdirs.Workdir
) -> tuple[str, str, str, str]:
    """Return a row of the table of stages."""
    work, seconds = estimate
    is_finished = shards.is_finished(workdir.folder(stage.folder))
    state = "finished" if is_finished else "to do"
    about = "" if seconds is None else texts.duration(seconds, 0)
    return stage.folder, state, work, about


def describe_images(
    counts: counting.Counts, *, reads_all: bool
) -> Iterator[str]:
    """Yield lines of what is known of the images, and of how many."""
    yield (
        f"labeled: {counts.train:,} training, {counts.validation:,} "
        f"validation and {counts.test:,} test images of "
        f"{counts.num_classes} classes"
    )
    if counts.per_class and counts.num_classes <= _MAX_SHOWN_CLASSES:
        columns = [
            [split, *map(str, numbers)]
            for split, numbers in counts.per_class.items()
        ]
        rows = list(zip(["class", *counts.class_names], *columns, strict=True))
        yield texts.align(rows)
    yield f"unlabeled: {counts.unlabeled:,} images"
    if counts.num_identical:
        yield (
            f"left out of them: {counts.num_identical:,}, identical to a "
            "labeled or held-out image"
        )
    for role, ignored in counts.ignored.items():
        yield f"{role}: {heaps.describe_ignored(ignored, items.ADVICE)}"
    number = f"{counts.num_read:,}"
    yield (
        f"pictures: all {number} were read and checked"
        if reads_all
        else f"pictures: {number} were read for the estimates; --dry_run=full "
        "reads and checks all"
    )
    for specification, entries in counts.unusable.items():
        named = [f"{each['key']}: {each['reason']}" for each in entries]
        yield (
            f"{specification}: {len(entries)} of them cannot be used "
            f"({manifests.name_some(named)})"
        )
    if counts.per_class:
        facts = {
            "class_names": counts.class_names,
            "counts_per_class": counts.per_class,
        }
        yield from (f"note: {each}" for each in cautions.of_data(facts))


def _needed_bytes(
    config: configs.Config, counts: counting.Counts, data: compute.Data
) -> float:
    """Estimate what all stages together write."""
    num_held_out = counts.validation + counts.test
    lines = storage.lines(
        config,
        data,
        labeled_image_bytes=counts.bytes_per_image,
        unlabeled_image_bytes=counts.bytes_per_image,
    )
    total = sum(line.num_bytes for line in lines)
    return total + num_held_out * counts.bytes_per_image


def _estimates(
    config: configs.Config, counts: counting.Counts, data: compute.Data
) -> Iterator[tuple[recipes.Stage, _Estimate]]:
    """Yield the stages with their work in images and estimated seconds."""
    recipe = recipes.of(config)
    rate = measure_rate(config.model)
    computed = {each.name: each for each in compute.stages(config, data)}
    num_held_out = counts.validation + counts.test
    num_labeled = counts.train + num_held_out
    built = {
        "labeled": num_labeled,
        "unlabeled": counts.unlabeled,
        "duplicates": num_labeled + counts.unlabeled,
        "pseudo_labeled": counts.unlabeled,
    }
    for stage in recipe.stages:
        if stage.folder in computed:
            yield stage, _computing(computed[stage.folder], rate)
        elif stage.kind in built:
            num_images = built[stage.kind]
            seconds = num_images * counts.seconds_per_image
            yield stage, (f"{num_images:,} images", seconds)
        elif stage.kind == "predictions":
            num_images = counts.unlabeled
            yield stage, (f"{num_images:,} images, as given", 0.0)
        elif stage.kind == "robustness":
            yield stage, _robustness(config, counts, rate)
        elif stage.model:
            yield stage, (f"measured on {num_held_out:,} images", None)
        else:
            yield stage, ("", None)


def _computing(stage: compute.Stage, rate: float) -> _Estimate:
    seconds = stage.multiply_adds / rate
    if stage.passes == 1:
        return f"{stage.images:,} images", seconds
    batch_size = stage.images // stage.num_steps
    return f"{stage.num_steps:,} steps of {batch_size:,} images", seconds


def _robustness(
    config: configs.Config, counts: counting.Counts, rate: float
) -> _Estimate:
    """Estimate measuring all models on corrupted images and sequences."""
    held_out = counts.test or counts.validation
    settings = config.evaluation
    num_images = settings.robustness_images or held_out
    num_sequences = settings.robustness_sequences or held_out
    work = (
        _CORRUPTED_PER_IMAGE * num_images + _FRAMES_PER_SEQUENCE * num_sequences
    )
    # The fine-tuned model is measured at its former resolution, too.
    models = recipes.of(config).networks
    measured = [*models, *(each for each in models if each.is_finetuned)]
    seconds = sum(
        work * compute.forward_multiply_adds(each.architecture, config) / rate
        for each in measured
    )
    return f"{len(measured)} models, {work:,} images", seconds


def measure_rate(model: configs.ModelConfig) -> float:
    """Time a network here; return its multiply-adds per second.

    Args:
        model: What most of the time goes into.
    """
    spec = _like(model)
    if cost.multiply_adds(spec) > _MAX_TIMED_MULTIPLY_ADDS:
        spec = _like(configs.ModelConfig())
    network = architectures.build(spec)
    forward = tf.function(
        lambda images: network(images, training=False), autograph=False
    )
    side = spec.resolution
    images = tf.zeros([_TIMED_BATCH_SIZE, side, side, 3])
    forward(images)
    started = time.monotonic()
    for _ in range(_TIMED_CALLS):
        forward(images).numpy()
    seconds = time.monotonic() - started
    images_per_second = _TIMED_CALLS * _TIMED_BATCH_SIZE / seconds
    return images_per_second * cost.multiply_adds(spec)


def _like(model: configs.ModelConfig) -> specs.ModelSpec:
    """Return a specification; the classifier costs next to nothing."""
    return architectures.make_spec(model, num_classes=1, class_names=())
