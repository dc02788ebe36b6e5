"""A look at what a model is trained on: batches in words, images as a sheet."""

import io
import itertools
import time
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.pipeline.augmentation import operations, randaugment
from noisy_student_tf.records import shards
from noisy_student_tf.stages import model_training

_CELL_PIXELS = 96
_MARGIN_PIXELS = 4
_LABEL_PIXELS = 130
_MAX_CLASSES = 20


def describe_batches(
    config: configs.Config,
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    num_batches: int,
) -> str:
    """Return the specification, class mix and rate of the first batches.

    Args:
        config: Batch sizes and noise are read.
        workdir: Whose shards are read.
        iteration: 0 for the teacher's batches, from 1 on a student's.
        num_batches: How many are counted and timed.

    Raises:
        FileNotFoundError: The shards are not built yet.
    """
    names, stream = _open_stream(config, workdir, iteration)
    lines = ["batches:"]
    lines += [
        f"  {name:24s} {spec.dtype.name} {spec.shape.as_list()}"
        for name, spec in stream.element_spec.items()
    ]
    counts = {
        key: np.zeros([len(names)])
        for key in ("labels", "soft_labels")
        if key in stream.element_spec
    }
    iterator = iter(stream)
    begin = time.perf_counter()
    first = next(iterator)
    lines.append(f"first batch after {time.perf_counter() - begin:.1f} s")
    begin = time.perf_counter()
    for batch in itertools.islice(iterator, num_batches):
        _count(batch, counts)
    seconds = time.perf_counter() - begin
    num_images = sum(
        tensor.shape[0] for key, tensor in first.items() if "images" in key
    )
    lines.append(
        f"{num_batches / seconds:.1f} batches, "
        f"{num_batches * num_images / seconds:.0f} images a second"
    )
    for key, count in counts.items():
        lines += _mix(key, count, names)
    return "\n".join(lines)


def _open_stream(
    config: configs.Config, workdir: workdirs.Workdir, iteration: int
) -> tuple[list[str], tf.data.Dataset]:
    """Return the names of the classes, and what the model is trained on."""
    model = recipes.of(config).model(iteration)
    settings = model_training.settings_of(config, workdir, model)
    make_stream = model_training.stream_maker(settings, workdir, model)
    names = shards.read_manifest(workdir.labeled)["class_names"]
    return names, make_stream(start_step=0)


def _count(batch: dict[str, Any], counts: dict[str, np.ndarray]) -> None:
    """Add a batch's classes to the counts; soft labels by their largest."""
    for key, count in counts.items():
        values = batch[key].numpy()
        classes = values.argmax(-1) if key == "soft_labels" else values
        np.add.at(count, classes, 1)


def _mix(key: str, count: np.ndarray, names: list[str]) -> list[str]:
    lines = [f"class mix of {key}, {int(count.sum())} images:"]
    order = np.argsort(-count, kind="stable")
    for i in order[:_MAX_CLASSES]:
        share = count[i] / count.sum()
        bar = "#" * round(share * 60)
        lines.append(f"  {names[i][:20]:20s} {100 * share:5.1f} % {bar}")
    if len(names) > _MAX_CLASSES:
        lines.append(f"  ... and {len(names) - _MAX_CLASSES} more classes")
    return lines


def write_contact_sheet(
    config: configs.Config,
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    path: str,
    num_images: int,
) -> None:
    """Write a PNG of clean and noised images, one row for each operation.

    Args:
        config: Noise and resolution are read.
        workdir: Whose shards are read.
        iteration: 0 for the teacher's noise, from 1 on a student's.
        path: Where it is written.
        num_images: Columns.
    """
    resolution = recipes.of(config).model(iteration).architecture.resolution
    clean = _clean_images(config, workdir, resolution, num_images)
    _, stream = _open_stream(config, workdir, iteration)
    batch = next(iter(stream))
    rows = {"clean": clean}
    for key in ("labeled_images", "unlabeled_images"):
        if key in batch:
            rows[key.replace("_", " ")] = batch[key].numpy()[:num_images]
    policy = (
        config.augmentation.unlabeled
        if iteration
        else config.augmentation.labeled
    )
    for operation in operations.OPERATIONS:
        rows[operation] = np.stack(
            [
                randaugment.apply_one(
                    tf.constant(image), operation, policy, seed=i
                )
                for i, image in enumerate(clean)
            ]
        )
    file = io.BytesIO()
    _draw(rows, num_images).save(file, "PNG")
    files.write_bytes(path, file.getvalue())


def _clean_images(
    config: configs.Config,
    workdir: workdirs.Workdir,
    resolution: int,
    num_images: int,
) -> np.ndarray:
    """Return test images, uint8 [num_images, side, side, 3]."""
    stream = eval_stream.make_eval_stream(
        shards.open_split(workdir.labeled, "train"),
        resolution=resolution,
        batch_size=num_images,
        crop=decode.test_crop(config.model.small_image_strides),
    )
    batch = next(iter(stream))
    images = batch["images"].numpy()[batch["is_valid"].numpy()]
    return np.clip(images, 0, 255).astype(np.uint8)


def _draw(rows: dict[str, np.ndarray], num_columns: int) -> Image.Image:
    step = _CELL_PIXELS + _MARGIN_PIXELS
    sheet = Image.new(
        "RGB", (_LABEL_PIXELS + num_columns * step, len(rows) * step), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for i, (name, images) in enumerate(rows.items()):
        draw.text((6, i * step + step // 2 - 6), name, fill="black")
        for j, image in enumerate(images):
            picture = Image.fromarray(image).resize(
                (_CELL_PIXELS, _CELL_PIXELS),
                Image.Resampling.NEAREST
                if image.shape[0] < _CELL_PIXELS
                else Image.Resampling.LANCZOS,
            )
            sheet.paste(picture, (_LABEL_PIXELS + j * step, i * step))
    return sheet
