"""The stages that hand the final model over, in the formats that serve it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf import files, texts
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.model import efficientnet, folding, saved, specs
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.serving import (
    conversion,
    exported,
    runtimes,
    saved_model,
    served,
)
from noisy_student_tf.stages import model_training, runs
from noisy_student_tf.weights import packages

FORMATS = ("saved_model", *conversion.FORMATS)

# How many images the export and the model must agree on.
_CHECKED_IMAGES = 4
# How many show the converter to int8 what values occur.
_REPRESENTATIVE_IMAGES = 200

LogitsFn = Callable[[tf.Tensor], Any]


@dataclasses.dataclass(frozen=True)
class _Source:
    """The model that a run ends with.

    Attributes:
        directory: Where it lies.
        name: `student_2`, for example.
        reason: Why it is this one.
        fingerprint: Of its weights.
        model: With the averaged weights.
        spec: What it was made from.
    """

    directory: str
    name: str
    reason: str
    fingerprint: str
    model: efficientnet.EfficientNet
    spec: specs.ModelSpec


def export(run: runs.Run) -> None:
    """Write the final model as a SavedModel, and check it."""
    directory = run.workdir.export
    if runs.is_done(directory, "Export"):
        return
    source = _load(run)
    preprocess = make_preprocess(source.spec)
    saved_model.export(
        model=folding.fold(source.model),
        spec=dataclasses.asdict(source.spec),
        directory=run.workdir.saved_model,
        training_fingerprint=source.fingerprint,
        preprocess=preprocess,
        crop=runs.test_crop(source.spec),
    )
    saved_model.check(
        directory=run.workdir.saved_model,
        model=source.model,
        images=_training_pixels(run, source.spec),
        preprocess=preprocess,
    )
    _copy_reference(run, source.directory)
    shards.write_manifest(
        directory,
        {
            "model": source.name,
            "reason": source.reason,
            "fingerprint": source.fingerprint,
        },
    )


def _copy_reference(run: runs.Run, directory: str) -> None:
    """Copy what the model says of held-out images beside the export.

    What is served is compared with it.
    """
    for split in ("validation", "test"):
        path = held_out.path(directory, split)
        if files.exists(path):
            files.copy(path, held_out.path(run.workdir.export, split))
            return


def check_formats(names: Sequence[str]) -> Sequence[str]:
    """Return names of formats, checked.

    Raises:
        ValueError: There is no such format, or none is named.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ValueError(
            f"--formats={','.join(names)}: accepted are "
            f"{', '.join(FORMATS)}, separated by commas."
        )
    return names


def convert(run: runs.Run, format: str) -> dict[str, Any]:
    """Write the final model in a format, and measure it on held-out images.

    A format lies in `export/FORMAT`, with what describes the model and a
    manifest that says how it differs from the checkpoint, and how fast it is
    on this machine.

    Args:
        run: A finished run.
        format: One of `FORMATS`; the SavedModel is written by `export`, and
            only measured here.

    Returns:
        The manifest.

    Raises:
        ImportError: A package that it needs is missing.
    """
    directory = run.workdir.exported(format)
    if runs.is_done(directory, f"Format {format}"):
        return shards.read_manifest(directory)
    source = _load(run)
    if format == "saved_model":
        size, logits_fn = _open_saved_model(run)
    else:
        size, logits_fn = _convert(run, source, directory, format)
    content = {
        "format": format,
        "model": source.name,
        "fingerprint": source.fingerprint,
        "num_bytes": size,
        **compare(run, source.model, source.spec, logits_fn),
        "milliseconds": runtimes.time_batches(
            logits_fn, _training_pixels(run, source.spec)
        ),
    }
    shards.write_manifest(directory, content)
    return content


def make_preprocess(spec: specs.ModelSpec) -> served.Preprocess:
    """Return what makes a model's image of a file, as models are tested."""

    def prepare(image: tf.Tensor) -> tf.Tensor:
        return decode.crop_and_resize(
            image, spec.resolution, crop=runs.test_crop(spec)
        )

    return served.Preprocess(decode=decoders.decode, prepare=prepare)


def open_model(source: str) -> exported.Exported:
    """Open a model's directory, or installed weights, as its export.

    Args:
        source: A trained or imported model, or a variant's name.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: It is damaged.
    """
    model, spec = saved.load(packages.directory_of(source, flag="model"))
    return served.in_memory(
        model=folding.fold(model),
        spec=dataclasses.asdict(spec),
        preprocess=make_preprocess(spec),
    )


def compare(
    run: runs.Run,
    model: efficientnet.EfficientNet,
    spec: specs.ModelSpec,
    logits_fn: LogitsFn,
) -> dict[str, Any]:
    """Measure what became of a model beside the model, on held-out images.

    Args:
        run: Whose test images are taken, or validation images without any.
        model: The checkpoint.
        spec: What it was made from.
        logits_fn: float32 [batch, resolution, resolution, 3] in [0, 255] to
            logits float32 [batch, num_classes].

    Returns:
        `split`; `num_images`; top-1 `accuracy` and `checkpoint_accuracy`;
        `agreement`, the share of images with the same class from both; and
        the `largest_difference` of a probability. All in [0, 1].

    Raises:
        ValueError: The run has no held-out images.
    """
    split = runs.held_out_split(run)
    reference = model_training.logits_of(model)
    totals = [metrics.zeros(spec.num_classes)] * 2
    num_equal, largest = 0, 0.0
    for batch in runs.test_stream(run, spec, split=split):
        kept = batch["is_valid"].numpy()
        labels = batch["labels"].numpy()[kept]
        images = batch["images"]
        both = [np.asarray(fn(images))[kept] for fn in (logits_fn, reference)]
        totals = [
            metrics.merge(total, metrics.of_batch(logits, labels))
            for total, logits in zip(totals, both, strict=True)
        ]
        num_equal += int(np.equal(*(x.argmax(-1) for x in both)).sum())
        difference = np.subtract(*(tf.nn.softmax(x).numpy() for x in both))
        largest = max(largest, float(np.abs(difference).max()))
    measured, expected = map(metrics.result, totals)
    return {
        "split": split,
        "num_images": measured["num_images"],
        "accuracy": measured["accuracy"],
        "checkpoint_accuracy": expected["accuracy"],
        "agreement": num_equal / measured["num_images"],
        "largest_difference": largest,
    }


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what `convert` returned for several formats as a table."""
    header = (
        "format",
        "KiB",
        "top-1 %",
        "checkpoint",
        "agreement %",
        "largest difference",
        "ms for 1",
        "ms for 8",
    )
    cells = [
        (
            row["format"],
            f"{row['num_bytes'] / 1024:.0f}",
            f"{100 * row['accuracy']:.2f}",
            f"{100 * row['checkpoint_accuracy']:.2f}",
            f"{100 * row['agreement']:.2f}",
            f"{row['largest_difference']:.2g}",
            *(f"{each:.3g}" for each in row["milliseconds"].values()),
        )
        for row in rows
    ]
    return texts.align([header, *cells])


def _load(run: runs.Run) -> _Source:
    directory, reason = runs.final_model(run)
    name = shards.read_manifest(directory)["model"]
    model, spec = saved.load(directory)
    fingerprint = saved.fingerprint(directory)
    return _Source(directory, name, reason, fingerprint, model, spec)


def _open_saved_model(run: runs.Run) -> tuple[int, LogitsFn]:
    """Return the size of the SavedModel in bytes, and its logits."""
    opened = exported.open_export(run.workdir.saved_model)
    paths = files.glob(
        f"{opened.directory}/*.pb,{opened.directory}/variables/*"
    )
    serve = opened.signatures["images"]

    # The signature dies with what was loaded.
    def logits(images: tf.Tensor, _: Any = opened) -> tf.Tensor:
        return serve(images=images)["logits"]

    return sum(map(files.size_bytes, paths)), logits


def _convert(
    run: runs.Run, source: _Source, directory: str, format: str
) -> tuple[int, LogitsFn]:
    """Write a format's files; return its size in bytes, and its logits."""
    spec = source.spec
    content = conversion.convert(
        folding.fold(source.model, multiplies=False),
        format=format,
        resolution=spec.resolution,
        representative_images=_representative_images(run, spec),
    )
    logits_fn = conversion.open_converted(content, format=format)
    files.write_bytes(
        files.join(directory, conversion.FORMATS[format]), content
    )
    descriptions = saved_model.describe(
        spec=dataclasses.asdict(spec),
        crop=runs.test_crop(spec),
        training_fingerprint=source.fingerprint,
    )
    for name, text in descriptions.items():
        files.write_text(files.join(directory, name), text)
    return len(content), lambda images: logits_fn(images.numpy())


def _representative_images(
    run: runs.Run, spec: specs.ModelSpec
) -> Iterator[np.ndarray]:
    """Yield images that were trained on, float32 [side, side, 3]."""
    remaining = _REPRESENTATIVE_IMAGES
    for folder, split in (("unlabeled", "unlabeled"), ("labeled", "train")):
        if remaining and shards.is_finished(run.workdir.folder(folder)):
            images = _first_images(run, spec, folder, split, remaining)
            remaining -= len(images)
            yield from images


def _training_pixels(run: runs.Run, spec: specs.ModelSpec) -> np.ndarray:
    """Return a few training images, uint8 [num_images, side, side, 3]."""
    images = _first_images(run, spec, "labeled", "train", _CHECKED_IMAGES)
    return decode.to_uint8(images).numpy()


def _first_images(
    run: runs.Run, spec: specs.ModelSpec, folder: str, split: str, count: int
) -> np.ndarray:
    """Return up to `count` images, float32 [num_images, side, side, 3]."""
    stream = runs.test_stream(
        run, spec, folder=folder, split=split, batch_size=count
    )
    batch = next(iter(stream))
    return batch["images"][batch["is_valid"]].numpy()
