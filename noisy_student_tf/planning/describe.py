"""The plan of a run as text: cost, feeding, storage, schedule, selection."""

import dataclasses
from collections.abc import Iterator, Sequence

import tensorflow as tf

from noisy_student_tf import configs, texts
from noisy_student_tf.planning import (
    accelerators,
    compute,
    memory,
    selection_model,
    storage,
)
from noisy_student_tf.training import progress, state

_DAY = 86_400
_HOUR = 3_600
# Paper, Section 3.1: L2 with 14 unlabeled images per labeled one trained for
# 6 days on a Cloud TPU v3 Pod of 2,048 cores.
_PAPER_PRESETS = ("imagenet_l2_iteration1", "imagenet_l2_iteration2")
_PAPER_ACCELERATOR = "v3-2048"
_PAPER_DAYS = 6
_SCHEDULE_POINTS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What the plan cannot know.

    Attributes:
        utilization: Share of the accelerator's peak, in (0, 1].
        labeled_image_bytes: Mean size of a labeled picture.
        unlabeled_image_bytes: Mean size of an unlabeled picture.
        host_rate: Noised images per second that one host can make, at the
            resolution of `host_rate_resolution`.
        host_rate_resolution: Side of those images in pixels.
    """

    utilization: float
    labeled_image_bytes: float
    unlabeled_image_bytes: float
    host_rate: float
    host_rate_resolution: int


def describe(
    config: configs.Config,
    data: compute.Data,
    *,
    accelerator: accelerators.Accelerator,
    assumptions: Assumptions,
) -> str:
    """Return the plan of a run, section by section."""
    stages = list(compute.stages(config, data))
    sections = [
        _images(data),
        _computing(stages, accelerator, assumptions),
        _paper_check(config, stages),
        _feeding(stages, accelerator, assumptions),
        memory.describe(config, accelerator),
        _storing(config, data, assumptions),
        _schedule(config, data),
        "\n".join(_selection(config, data)),
    ]
    return "\n\n".join(section for section in sections if section)


def _images(data: compute.Data) -> str:
    return (
        f"images: {data.num_labeled:,} labeled, {data.num_unlabeled:,} "
        f"unlabeled, of which {data.num_selected:,} are selected and make "
        f"{data.num_rows:,} rows a pass"
    )


def _computing(
    stages: Sequence[compute.Stage],
    accelerator: accelerators.Accelerator,
    assumptions: Assumptions,
) -> str:
    utilization = assumptions.utilization
    rows = [
        (
            "stage",
            "model",
            "steps",
            "images",
            "multiply-adds each",
            "in all",
            "time",
            "device hours",
        )
    ]
    for stage in stages:
        seconds = accelerator.seconds(
            stage.multiply_adds, utilization=utilization
        )
        variant = stage.model.removeprefix("efficientnet-")
        rows.append(
            (
                stage.name,
                f"{variant} at {stage.resolution} px",
                f"{stage.num_steps:,}",
                f"{stage.images:.3g}",
                f"{stage.forward_multiply_adds / 1e9:.3g} G",
                f"{stage.multiply_adds:.3g}",
                texts.duration(seconds),
                f"{seconds * accelerator.num_devices / _HOUR:,.0f}",
            )
        )
    total = accelerator.seconds(
        sum(stage.multiply_adds for stage in stages), utilization=utilization
    )
    title = (
        f"computing on {accelerator.name} ({accelerator.num_devices:,} devices "
        f"on {accelerator.num_hosts:,} hosts) at {utilization:.0%} of its "
        f"peak: {texts.duration(total)}"
    )
    return f"{title}\n{texts.align(rows)}"


def _paper_check(
    config: configs.Config, stages: Sequence[compute.Stage]
) -> str:
    if config.preset not in _PAPER_PRESETS:
        return ""
    student = next(stage for stage in stages if stage.name == "student_1")
    pod = accelerators.parse(_PAPER_ACCELERATOR)
    # What was published did not say whether activations were recomputed.
    work = student.multiply_adds / student.passes * compute.TRAINING_PASSES
    at_peak = pod.seconds(work, utilization=1.0)
    b7 = dataclasses.replace(
        config.model, name="efficientnet-b7", resolution=600
    )
    ratio = student.forward_multiply_adds / compute.forward_multiply_adds(
        b7, config
    )
    return (
        f"the paper's one published cost (Section 3.1): {_PAPER_DAYS} days for "
        f"this student on {_PAPER_ACCELERATOR}; at its peak it would take "
        f"{texts.duration(at_peak)}, so the implied utilization is "
        f"{at_peak / (_PAPER_DAYS * _DAY):.1%}\nL2 was said to train five "
        f"times as long as B7; per image it has {ratio:.1f} times the "
        "multiply-adds of B7 at 600 px"
    )


def _feeding(
    stages: Sequence[compute.Stage],
    accelerator: accelerators.Accelerator,
    assumptions: Assumptions,
) -> str:
    rows = []
    for stage in stages:
        seconds = accelerator.seconds(
            stage.multiply_adds, utilization=assumptions.utilization
        )
        needed = stage.images / seconds / accelerator.num_hosts
        area = (stage.resolution / assumptions.host_rate_resolution) ** 2
        available = assumptions.host_rate / area
        rows.append(
            (
                stage.name,
                f"{needed:,.0f}",
                f"{available:,.0f}",
                "enough" if available >= needed else "the hosts limit",
            )
        )
    title = (
        f"feeding: a host is taken to make {assumptions.host_rate:,.0f} noised "
        f"images/s at {assumptions.host_rate_resolution} px, in proportion to "
        "their area"
    )
    header = ("stage", "needed images/s a host", "available", "")
    return f"{title}\n{texts.align([header, *rows])}"


def _storing(
    config: configs.Config, data: compute.Data, assumptions: Assumptions
) -> str:
    lines = storage.lines(
        config,
        data,
        labeled_image_bytes=assumptions.labeled_image_bytes,
        unlabeled_image_bytes=assumptions.unlabeled_image_bytes,
    )
    total = sum(line.num_bytes for line in lines)
    rows = [
        (line.name, texts.gigabytes(line.num_bytes), line.what)
        for line in lines
    ]
    table = texts.align([("stage", "size", "holds"), *rows])
    return f"storage: {texts.gigabytes(total)}\n{table}"


def _schedule(config: configs.Config, data: compute.Data) -> str:
    if not config.self_training.num_iterations:
        return ""
    points = simulate_schedule(config, data, num_points=_SCHEDULE_POINTS)
    formats = (",", ",.1f", ".3g", ".5f", ",.2f")
    rows = [list(map(format, point.values(), formats)) for point in points]
    return f"a student's schedule\n{texts.align([list(points[0]), *rows])}"


def simulate_schedule(
    config: configs.Config, data: compute.Data, *, num_points: int
) -> list[dict[str, float]]:
    """Return a student's schedule at two or more equally distant points.

    Returns:
        Of each point the updates made, the passes over the labeled images,
        the next update's learning rate and decay of the averages, and the
        passes over the pseudo-labeled rows, by their headings.
    """
    durations = progress.make_durations(
        config,
        num_labeled=data.num_labeled,
        epochs=config.training.student_epochs,
        min_steps=config.training.min_steps,
        has_unlabeled=True,
    )
    learning_rate = durations.learning_rate(config)
    points = []
    for index in range(num_points):
        step = round(index * durations.total_steps / (num_points - 1))
        decay = state.ramped_decay(
            config.optimizer.ema_decay, tf.constant(step)
        )
        unlabeled_images = step * durations.unlabeled_batch_size
        points.append(
            {
                "step": step,
                "labeled epoch": step / durations.steps_per_epoch,
                "learning rate": float(learning_rate(tf.constant(step))),
                "EMA decay": float(decay),
                "passes over the pseudo-labeled rows": unlabeled_images
                / data.num_rows,
            }
        )
    return points


def _selection(config: configs.Config, data: compute.Data) -> Iterator[str]:
    heap = selection_model.Heap(
        num_images=data.num_unlabeled,
        num_classes=config.data.num_classes,
        zipf_exponent=0.0,
    )
    try:
        exponent = selection_model.fit_exponent(
            heap, config.selection, num_selected=data.num_selected
        )
    except ValueError as error:
        yield f"selection: no synthetic heap fits ({error})"
        return
    heap = dataclasses.replace(heap, zipf_exponent=exponent)
    outcome = selection_model.simulate(heap, config.selection, seed=config.seed)
    threshold = config.selection.confidence_threshold
    yield (
        "selection from a synthetic heap (class frequencies after Zipf with "
        f"exponent {exponent:.2f}, chosen so that {data.num_selected:,} "
        "different images are left; one distribution of confidences for all "
        f"classes, {heap.share_above(threshold):.0%} above {threshold:g})"
    )
    yield (
        f"  {outcome.num_above:,} images at or above the threshold, "
        f"{outcome.num_selected:,} selected, {outcome.num_rows:,} rows"
    )
    yield (
        f"  {outcome.num_short_classes:,} of {heap.num_classes:,} classes need "
        f"copies, at most {outcome.max_copies:,} of one image; "
        f"{outcome.num_empty_classes:,} classes have no image"
    )
