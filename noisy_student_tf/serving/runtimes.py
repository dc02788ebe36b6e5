"""What computes an export's answers: TensorFlow, onnxruntime or TFLite.

Whatever computes, pictures are decoded, turned, cropped and resized by the
SavedModel's own graph: there is one decoder. The other runtimes take a
converted file from the folder beside the SavedModel, whose manifest says of
which weights it is, how it differs from the checkpoint, and how fast it was.
"""

import dataclasses
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from scipy import special

from noisy_student_tf import files
from noisy_student_tf.records import shards
from noisy_student_tf.serving import conversion

AUTO, SAVED_MODEL = "auto", "saved_model"
# Runtime -> the export's format that it runs.
FORMATS = {
    SAVED_MODEL: "saved_model",
    "onnxruntime": "onnx",
    "tflite": "tflite",
    "tflite_float16": "tflite_float16",
    "tflite_int8": "tflite_int8",
}
NAMES = (AUTO, *FORMATS)
# How many images at once an export is timed with.
TIMED_BATCH_SIZES = (1, 8)

# Of a probability, for which another runtime counts as equal.
_TOLERANCE = 1e-3
# For how long each size of a batch is timed, at least.
_TIMED_SECONDS = 0.3
_PACKAGES = {"onnxruntime": "onnxruntime"}
_TFLITE_PACKAGE = "ai_edge_litert"


@dataclasses.dataclass(frozen=True)
class Columns:
    """What a model says of a batch of pictures.

    Attributes:
        valid: bool [batch], which could be decoded.
        probabilities: float32 [batch, num_classes]; zeros where invalid.
        energies: float32 [batch], minus the logarithm of the sum of the
            logits' exponentials; zero where invalid.
    """

    valid: np.ndarray
    probabilities: np.ndarray
    energies: np.ndarray


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What answers, and what it is called.

    Attributes:
        name: One of `FORMATS`.
        answer: Encoded pictures that the graph decodes -> a row each.
    """

    name: str
    answer: Callable[[Sequence[bytes]], Columns]


def of_tensorflow(signatures: Mapping[str, Any]) -> Runtime:
    """Return what a SavedModel's signatures answer by themselves."""
    serve = signatures["serving_default"]

    def answer(pictures: Sequence[bytes]) -> Columns:
        outputs = serve(image_bytes=tf.constant(pictures, tf.string))
        return Columns(
            valid=outputs["valid"].numpy(),
            probabilities=outputs["probabilities"].numpy(),
            energies=outputs["energies"].numpy(),
        )

    return Runtime(SAVED_MODEL, answer)


def of_converted(
    name: str, signatures: Mapping[str, Any], logits_fn: conversion.ConvertedFn
) -> Runtime:
    """Return what a converted model answers, its pictures decoded as before.

    Args:
        name: One of `FORMATS`.
        signatures: Of the SavedModel; `preprocess` is taken.
        logits_fn: The model's images -> logits.
    """
    preprocess = signatures["preprocess"]

    def answer(pictures: Sequence[bytes]) -> Columns:
        outputs = preprocess(image_bytes=tf.constant(pictures, tf.string))
        valid = outputs["valid"].numpy()
        logits = logits_fn(outputs["images"].numpy())
        probabilities = special.softmax(logits, axis=-1)
        energies = -special.logsumexp(logits, axis=-1)
        return Columns(
            valid=valid,
            probabilities=np.where(
                valid[:, np.newaxis], probabilities, np.float32(0)
            ),
            energies=np.where(valid, energies, np.float32(0)),
        )

    return Runtime(name, answer)


def open_runtime(
    name: str,
    *,
    directory: str,
    fingerprint: str,
    signatures: Mapping[str, Any],
) -> Runtime:
    """Return what answers for an export.

    Args:
        name: One of `NAMES`. `auto` is the fastest of those that are
            installed and were measured equal to the checkpoint: by the
            product of the times of both `TIMED_BATCH_SIZES`.
        directory: Of the SavedModel.
        fingerprint: Of its weights.
        signatures: Of the SavedModel.

    Raises:
        FileNotFoundError: The format was not exported.
        ImportError: The runtime is not installed.
        ValueError: There is no such runtime, or its file is of other weights.
    """
    check_name(name)
    if name == AUTO:
        name = _fastest(directory, fingerprint)
    if name == SAVED_MODEL:
        return of_tensorflow(signatures)
    folder = folder_of(directory, name)
    manifest = _read_manifest(folder, name, fingerprint)
    if not _is_equal(manifest):
        logging.warning(
            "--runtime=%s: of the held-out images %.2f %% have the same class "
            "as from the checkpoint; a probability differs by up to %.2g.",
            name,
            100 * manifest["agreement"],
            manifest["largest_difference"],
        )
    path = files.join(folder, conversion.FORMATS[FORMATS[name]])
    logits_fn = conversion.open_converted(
        files.read_bytes(path), format=FORMATS[name]
    )
    return of_converted(name, signatures, logits_fn)


def check_name(name: str) -> None:
    """Check the name of a runtime.

    Raises:
        ValueError: There is none.
    """
    if name not in NAMES:
        raise ValueError(
            f"--runtime={name}: accepted are {', '.join(NAMES)}. auto takes "
            "the fastest that is installed and was measured equal."
        )


def folder_of(directory: str, name: str) -> str:
    """Return where a runtime's format lies beside a SavedModel."""
    return beside(directory, FORMATS[name])


def beside(directory: str, name: str) -> str:
    """Return the path of a name where a directory lies.

    Of a link, that is where what it leads to lies.
    """
    if files.is_remote(directory):
        return files.join(directory.rstrip("/").rpartition("/")[0], name)
    return files.join(directory, "..", name)


def time_batches(
    logits_fn: Callable[[tf.Tensor], Any], pixels: np.ndarray
) -> dict[str, float]:
    """Return the median milliseconds of a batch, by its size as text.

    Args:
        logits_fn: float32 [batch, side, side, 3] in [0, 255] -> logits.
        pixels: uint8 [num_images, side, side, 3], repeated as needed.
    """
    medians = {}
    for count in TIMED_BATCH_SIZES:
        images = np.resize(pixels, (count, *pixels.shape[1:]))
        batch = tf.constant(images, tf.float32)
        logits_fn(batch)  # Prepares itself for the size.
        times: list[float] = []
        while sum(times) < _TIMED_SECONDS:
            started = time.perf_counter()
            np.asarray(logits_fn(batch))
            times.append(time.perf_counter() - started)
        medians[str(count)] = 1000 * statistics.median(times)
    return medians


def manifests(directory: str) -> list[str]:
    """Return the paths of what is known of the formats beside a SavedModel."""
    folders = [folder_of(directory, name) for name in FORMATS]
    return [files.join(folder, "manifest.json") for folder in folders]


def _read_manifest(folder: str, name: str, fingerprint: str) -> dict[str, Any]:
    mend = (
        "Write it with python -m run_scripts.export --workdir=... "
        f"--formats=saved_model,{FORMATS[name]}, or give --runtime=auto."
    )
    if not shards.is_finished(folder):
        raise FileNotFoundError(
            f"--runtime={name}: {folder} holds no exported model. {mend}"
        )
    manifest = shards.read_manifest(folder)
    if manifest["fingerprint"] != fingerprint:
        raise ValueError(
            f"--runtime={name}: {folder} is of the weights "
            f"{manifest['fingerprint']}, the SavedModel beside it of "
            f"{fingerprint}. Remove it. {mend}"
        )
    return manifest


def _fastest(directory: str, fingerprint: str) -> str:
    """Return the fastest runtime; the SavedModel, if it is not known."""
    seconds = {}
    for name in FORMATS:
        folder = folder_of(directory, name)
        if not shards.is_finished(folder):
            continue
        manifest = shards.read_manifest(folder)
        times = manifest.get("milliseconds", {})
        if (
            times
            and manifest["fingerprint"] == fingerprint
            and _is_equal(manifest)
            and _is_installed(name)
        ):
            seconds[name] = math.prod(times.values())
    if SAVED_MODEL not in seconds:
        return SAVED_MODEL
    return min(seconds, key=lambda name: seconds[name])


def _is_equal(manifest: Mapping[str, Any]) -> bool:
    return (
        manifest["agreement"] == 1
        and manifest["largest_difference"] <= _TOLERANCE
    )


def _is_installed(name: str) -> bool:
    if name == SAVED_MODEL:
        return True
    package = _PACKAGES.get(name, _TFLITE_PACKAGE)
    return importlib.util.find_spec(package) is not None
