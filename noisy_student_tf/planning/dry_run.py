"""What a run would do: counts, disk space, stages and their estimated time.

Nothing is written. Sources are listed, a few pictures are read, and a small
network is timed on this machine; estimates are multiply-adds over that rate.
"""

import collections
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence

import tensorflow as tf

from data_prep import sources
from data_prep.shards import (
    file_plans,
    imagenet_shards,
    labeled_plans,
    shard_building,
    splits,
)
from data_prep.sources import pictures
from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.configs import derived
from noisy_student_tf.model import architectures, cost, starts
from noisy_student_tf.records import shards
from noisy_student_tf.training import plan as plans

_SAMPLED_PICTURES = 16
# Forward and backward.
_TRAINING_PASSES = 3
_TIMED_RESOLUTION = 64
_TIMED_BATCH_SIZE = 16
_TIMED_CALLS = 5


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many images each split would get, and their mean stored size."""

    train: int
    validation: int
    test: int
    unlabeled: int
    num_classes: int
    bytes_per_image: float
    seconds_per_image: float


def describe(config: configs.Config, workdir: workdirs.Workdir) -> str:
    """Return a table of the stages, after checking what can be checked.

    Raises:
        ValueError: The configuration, a source or the workdir is not
            accepted, or the disk is too small.
        FileNotFoundError: A source or the given teacher does not exist.
    """
    workdirs.check_config(config, workdir)
    starts.check(config)
    counts = count_images(config, workdir)
    needed = _needed_bytes(config, counts)
    free = files.free_bytes(workdir.root)
    if free is not None and free < needed:
        raise ValueError(
            f"--workdir={workdir.root}: the run needs about "
            f"{_gigabytes(needed)}, {_gigabytes(free)} are free. Free some, "
            "or name another directory."
        )
    lines = [
        f"labeled: {counts.train:,} training, {counts.validation:,} "
        f"validation and {counts.test:,} test images of "
        f"{counts.num_classes} classes",
        f"unlabeled: {counts.unlabeled:,} images",
        f"disk: about {_gigabytes(needed)}, free "
        + ("unknown (remote)" if free is None else _gigabytes(free)),
        "",
        f"{'stage':<24}{'state':<10}{'work':<34}about",
    ]
    for stage in _stages(config, workdir, counts):
        state = "finished" if stage.is_finished else "to do"
        lines.append(
            f"{stage.name:<24}{state:<10}{stage.work:<34}"
            f"{_duration(stage.seconds)}"
        )
    return "\n".join(lines)


def count_images(config: configs.Config, workdir: workdirs.Workdir) -> Counts:
    """Plan the splits and read a few pictures of each.

    Raises:
        ValueError: A source, or what it holds, does not fit the settings.
        FileNotFoundError: A source does not exist.
    """
    data = config.data
    plans, class_names = labeled_plans.plan_labeled(data, workdir.labeled)
    held_out, _ = labeled_plans.plan_evaluation(data, workdir.labeled)
    unlabeled = _plan_unlabeled(data, workdir)
    num_images: dict[str, int] = collections.Counter()
    num_bytes, seconds = [], []
    for split in (splits.TRAIN, splits.VALIDATION, splits.TEST):
        chosen = [plan for plan in [*plans, *held_out] if plan.split == split]
        num_images[split] = _count(chosen)
    for group in (plans, held_out, unlabeled):
        for size, elapsed in _sample(group):
            num_bytes.append(size)
            seconds.append(elapsed)
    return Counts(
        train=num_images[splits.TRAIN],
        validation=num_images[splits.VALIDATION],
        test=num_images[splits.TEST],
        unlabeled=_count(unlabeled),
        num_classes=len(class_names or ()) or data.num_classes,
        bytes_per_image=statistics.mean(num_bytes or [0]),
        seconds_per_image=statistics.mean(seconds or [0]),
    )


def _plan_unlabeled(
    data: configs.DataConfig, workdir: workdirs.Workdir
) -> Sequence[shard_building.Plan]:
    if data.unlabeled and data.unlabeled_by_file:
        return file_plans.plan_unlabeled(
            sources.open_by_file(data.unlabeled),
            directory=workdir.unlabeled,
            data=data,
        )
    if data.unlabeled:
        source = sources.open_source(data.unlabeled)
        listed = sources.list_checked(source)
    else:
        source = labeled_plans.open_labeled(data)
        listed = labeled_plans.assign(source, data).rest
    if not listed:
        raise ValueError(
            "--data.unlabeled is empty and the labeled source leaves no image "
            "unlabeled. Give a source of unlabeled images, or set "
            "--data.labeled_per_class."
        )
    return labeled_plans.plan_shards(
        source,
        listed,
        split=splits.UNLABELED,
        directory=workdir.unlabeled,
        data=data,
    )


def _count(plans: Sequence[shard_building.Plan]) -> int:
    """Count images; those of files that are not listed, by their size."""
    listed = sum(plan.num_items for plan in plans)
    by_file = [
        (plan, path)
        for plan in plans
        if isinstance(plan, file_plans.FilesPlan)
        for path in plan.paths
    ]
    if by_file:
        plan, first = by_file[0]
        num_first = sum(1 for _ in plan.list_file(first))
        total_bytes = sum(files.size_bytes(path) for _, path in by_file)
        listed += round(num_first * total_bytes / files.size_bytes(first))
    in_place = [
        plan.shard_path
        for plan in plans
        if isinstance(plan, imagenet_shards.ForeignPlan)
    ]
    if not in_place:
        return listed
    examples = tf.data.TFRecordDataset(in_place[0]).take(_SAMPLED_PICTURES)
    record_bytes = statistics.mean(len(record.numpy()) for record in examples)
    total_bytes = sum(files.size_bytes(path) for path in in_place)
    return listed + round(total_bytes / record_bytes)


def _sample(
    plans: Sequence[shard_building.Plan],
) -> Iterator[tuple[int, float]]:
    """Yield the stored bytes of a few pictures, and the seconds they took."""
    for plan in plans[:1]:
        if isinstance(plan, shard_building.ShardPlan):
            wanted = plan.items[:_SAMPLED_PICTURES]
        elif isinstance(plan, file_plans.FilesPlan):
            images = plan.list_file(plan.paths[0])
            wanted = tuple(itertools.islice(images, _SAMPLED_PICTURES))
        else:
            continue
        with plan.reader.open(wanted) as read:
            for item in wanted:
                started = time.monotonic()
                try:
                    picture = pictures.normalize(
                        read(item), max_side=plan.max_side
                    )
                except pictures.CorruptImageError:
                    continue  # The builders count and name it.
                yield len(picture), time.monotonic() - started


@dataclasses.dataclass(frozen=True)
class _Stage:
    name: str
    work: str
    seconds: float
    is_finished: bool


def _stages(
    config: configs.Config, workdir: workdirs.Workdir, counts: Counts
) -> Iterator[_Stage]:
    """Yield the stages with their work in images and estimated seconds."""
    rate = measure_rate()
    num_labeled = counts.train + counts.validation + counts.test
    num_last = config.self_training.num_iterations
    yield _building("labeled", workdir.labeled, num_labeled, counts)
    yield _building("unlabeled", workdir.unlabeled, counts.unlabeled, counts)
    if config.labeling.near_duplicate_bits >= 0:
        num_hashed = num_labeled + counts.unlabeled
        yield _building("duplicates", workdir.duplicates, num_hashed, counts)
    teacher = derived.teacher_model(config)
    yield _training(config, "teacher", workdir.teacher, teacher, counts, rate)
    for iteration in range(1, num_last + 1):
        labeler = teacher if iteration == 1 else config.model
        seconds = _forward_cost(labeler, counts) * counts.unlabeled / rate
        yield _Stage(
            f"predictions_{iteration}",
            f"{counts.unlabeled:,} images",
            seconds,
            shards.is_finished(workdir.predictions(iteration)),
        )
        yield _building(
            f"pseudo_labeled_{iteration}",
            workdir.pseudo_labeled(iteration),
            counts.unlabeled,
            counts,
        )
        yield _training(
            config,
            f"student_{iteration}",
            workdir.student(iteration),
            config.model,
            counts,
            rate,
        )
    if config.fixres.resolution:
        fixres = dataclasses.replace(
            config.model, resolution=config.fixres.resolution
        )
        yield _training(config, "fixres", workdir.fixres, fixres, counts, rate)
    if config.evaluation.robustness:
        yield _robustness(config, workdir, counts, rate)


def _robustness(
    config: configs.Config,
    workdir: workdirs.Workdir,
    counts: Counts,
    rate: float,
) -> _Stage:
    """Return the stage that measures all models on corrupted images."""
    held_out = counts.test or counts.validation
    settings = config.evaluation
    num_images = settings.robustness_images or held_out
    num_sequences = settings.robustness_sequences or held_out
    # 15 corruptions at 5 severities; 10 perturbations of about 30 frames.
    work = 75 * num_images + 300 * num_sequences
    num_models = config.self_training.num_iterations + 1
    if config.fixres.resolution:
        num_models += 2
    cost_of_image = _forward_cost(config.model, counts)
    return _Stage(
        "robustness",
        f"{num_models} models, {work:,} images",
        num_models * work * cost_of_image / rate,
        shards.is_finished(workdir.robustness),
    )


def _building(
    name: str, directory: str, num_images: int, counts: Counts
) -> _Stage:
    return _Stage(
        name,
        f"{num_images:,} images",
        num_images * counts.seconds_per_image,
        shards.is_finished(directory),
    )


def _training(
    config: configs.Config,
    name: str,
    directory: str,
    model: configs.ModelConfig,
    counts: Counts,
    rate: float,
) -> _Stage:
    epochs = {
        "teacher": config.training.teacher_epochs,
        "fixres": config.fixres.epochs,
    }.get(name, config.training.student_epochs)
    plan = plans.make_plan(
        config,
        num_labeled=counts.train,
        epochs=epochs,
        has_unlabeled=name.startswith("student"),
    )
    batch_size = plan.labeled_batch_size + plan.unlabeled_batch_size
    work = plan.total_steps * batch_size * _forward_cost(model, counts)
    return _Stage(
        name,
        f"{plan.total_steps:,} steps of {batch_size:,} images",
        _TRAINING_PASSES * work / rate,
        shards.is_finished(directory),
    )


def _forward_cost(model: configs.ModelConfig, counts: Counts) -> float:
    """Return the multiply-adds of one image."""
    return cost.multiply_adds(
        architectures.make_spec(
            model,
            num_classes=counts.num_classes,
            class_names=tuple(map(str, range(counts.num_classes))),
        )
    )


def measure_rate() -> float:
    """Time a small network here; return its multiply-adds per second."""
    spec = architectures.make_spec(
        configs.ModelConfig(width=0.5, depth=0.4, resolution=_TIMED_RESOLUTION),
        num_classes=10,
        class_names=tuple("0123456789"),
    )
    model = architectures.build(spec)
    forward = tf.function(
        lambda images: model(images, training=False), autograph=False
    )
    images = tf.zeros(
        [_TIMED_BATCH_SIZE, _TIMED_RESOLUTION, _TIMED_RESOLUTION, 3]
    )
    forward(images)
    started = time.monotonic()
    for _ in range(_TIMED_CALLS):
        forward(images).numpy()
    seconds = time.monotonic() - started
    images_per_second = _TIMED_CALLS * _TIMED_BATCH_SIZE / seconds
    return images_per_second * cost.multiply_adds(spec)


def _needed_bytes(config: configs.Config, counts: Counts) -> float:
    """Estimate what all stages together write."""
    labeled = counts.train + counts.validation + counts.test
    num_iterations = config.self_training.num_iterations
    # Predictions: float16 probabilities, id, class and confidence.
    prediction_bytes = 2 * counts.num_classes + 24
    pseudo_labeled = counts.bytes_per_image + 2 * counts.num_classes
    return (
        (labeled + counts.unlabeled) * counts.bytes_per_image
        + num_iterations * counts.unlabeled * prediction_bytes
        + num_iterations * counts.unlabeled * pseudo_labeled
    )


def _gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.2f} GB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
