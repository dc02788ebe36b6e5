"""An exported SavedModel, opened again.

Anything that loads SavedModels can serve one; this module is for the scripts
of this project, which say what is wrong with a directory before they use it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import files, heaps
from noisy_student_tf.records import pictures as picture_files
from noisy_student_tf.serving import runtimes

# Of signatures and assets. 1 had no such number, and ignored EXIF; 2 laid what
# is transparent on black, and ignored EXIF but in JPEG.
# 3 had neither energies nor the signature `preprocess`.
VERSION = 4

_SIGNATURES = (
    "serving_default",
    "preprocess",
    "images",
    "images_uint8",
    "features",
)
# Where a SavedModel lies in an export's folder, and in that of a run.
_PLACES = ("", "saved_model", "export/saved_model")
_ADVICE = (
    "Write one with python -m run_scripts.export --workdir=..., and name its "
    "export/saved_model."
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What lies beside the graph of a SavedModel that `export.export` wrote.

    Attributes:
        directory: Where it lies.
        class_names: One name a class.
        model: The asset `model.json`.
        preprocessing: The asset `preprocessing.json`.
    """

    directory: str
    class_names: tuple[str, ...]
    model: dict[str, Any]
    preprocessing: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Exported(Description):
    """A SavedModel, loaded.

    Attributes:
        signatures: Compiled functions by name.
        runtime: What answers.
        loaded: Keeps the variables alive.
    """

    signatures: dict[str, Callable[..., dict[str, tf.Tensor]]]
    runtime: runtimes.Runtime
    loaded: Any


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        is_valid: It could be decoded; the rest is empty otherwise.
        class_index: Most probable class, or -1.
        class_name: Its name.
        probabilities: float32 [num_classes]; zeros if invalid.
        energy: Minus the logarithm of the sum of the logits' exponentials:
            high for what is like none of the classes.
    """

    is_valid: bool
    class_index: int
    class_name: str
    probabilities: np.ndarray
    energy: float

    @property
    def confidence(self) -> float:
        """Probability of the class, in [0, 1]."""
        return float(self.probabilities.max())


def open_export(path: str, *, runtime: str = runtimes.SAVED_MODEL) -> Exported:
    """Load a SavedModel and check that this program can read it.

    Args:
        path: Of a SavedModel, of the `export` folder that it lies in, or of a
            run.
        runtime: What answers, one of `runtimes.NAMES`.

    Raises:
        FileNotFoundError: There is no SavedModel, or no file for the runtime.
        ImportError: The runtime is not installed.
        ValueError: It is of another version or not of this project.
    """
    runtimes.check_name(runtime)
    described = describe(path)
    loaded = tf.saved_model.load(described.directory)
    missing = [name for name in _SIGNATURES if name not in loaded.signatures]
    if missing:
        raise ValueError(
            f"{described.directory}: the SavedModel has no signature "
            f"{missing[0]!r}, only {sorted(loaded.signatures)}. {_ADVICE}"
        )
    return Exported(
        **vars(described),
        signatures=loaded.signatures,
        runtime=runtimes.open_runtime(
            runtime,
            directory=described.directory,
            fingerprint=described.model["training_fingerprint"],
            signatures=loaded.signatures,
        ),
        loaded=loaded,
    )


def describe(path: str) -> Description:
    """Read what lies beside the graph of a SavedModel; see `open_export`.

    Raises:
        FileNotFoundError: There is no SavedModel.
        ValueError: It is of another version or not of this project.
    """
    directory = find(path)
    model = _read_model(directory)
    assets = files.join(directory, "assets")
    names = files.read_text(files.join(assets, "class_names.txt"))
    return Description(
        directory=directory,
        # Not splitlines, which takes other characters for line breaks, too.
        class_names=tuple(names.removesuffix("\n").split("\n")),
        model=model,
        preprocessing=files.read_json(files.join(assets, "preprocessing.json")),
    )


def find(path: str) -> str:
    """Return the SavedModel's directory in a path of three kinds.

    Raises:
        FileNotFoundError: There is none.
    """
    for place in _PLACES:
        directory = files.join(path, place) if place else path
        if files.exists(files.join(directory, "saved_model.pb")):
            return directory
    raise FileNotFoundError(
        f"{path}: no SavedModel here: saved_model.pb is neither in it, nor in "
        f"its saved_model/ or export/saved_model/. {_ADVICE}"
    )


def _read_model(directory: str) -> dict[str, Any]:
    path = files.join(directory, "assets", "model.json")
    if not files.exists(path):
        raise ValueError(
            f"{directory}: a SavedModel without assets/model.json, not of "
            f"this project. {_ADVICE}"
        )
    model = files.read_json(path)
    version = model.get("export_version", 1)
    if version != VERSION:
        raise ValueError(
            f"{directory}: export_version={version}; accepted is {VERSION}. "
            "Remove the run's export folder and export it again with this "
            "version of the project: python -m run_scripts.export "
            "--workdir=..."
        )
    return model


def classify(
    export: Exported, pictures: Sequence[bytes], *, batch_size: int = 32
) -> Iterator[Prediction]:
    """Yield a prediction for every encoded picture, in their order.

    Files that the graph does not decode are made ones that it does, as they
    are where shards are built.
    """
    for start in range(0, len(pictures), batch_size):
        batch = [_decodable(p) for p in pictures[start : start + batch_size]]
        columns = export.runtime.answer(batch)
        for is_valid, probabilities, energy in zip(
            columns.valid, columns.probabilities, columns.energies, strict=True
        ):
            best = int(probabilities.argmax()) if is_valid else -1
            yield Prediction(
                is_valid=bool(is_valid),
                class_index=best,
                class_name=export.class_names[best] if is_valid else "",
                probabilities=probabilities,
                energy=float(energy),
            )


def _decodable(encoded: bytes) -> bytes:
    """Return what the graph decodes, or nothing."""
    try:
        return picture_files.to_decodable(encoded, is_kept=False)
    except picture_files.CorruptImageError:
        return b""


def list_pictures(paths: Sequence[str]) -> list[str]:
    """Return the files among paths, and the pictures in folders, sorted.

    Files may have any name; folders are searched at any depth for names that
    end as pictures do.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A folder holds no pictures, or no path is given.
    """
    if not paths:
        raise ValueError(
            "no pictures were given: name files or folders, such as "
            "photos/cat.jpg or photos."
        )
    found: list[str] = []
    for path in paths:
        if not files.exists(path):
            raise FileNotFoundError(f"{path}: there is no such file or folder.")
        if not files.is_directory(path):
            found.append(path)
            continue
        inside, ignored = _find(path)
        if ignored:
            logging.warning("%s: %s.", path, ignored)
        if not inside:
            raise ValueError(
                f"{path}: no pictures in this folder; accepted are names "
                f"that end in {', '.join(picture_files.extensions())}."
            )
        found += inside
    return found


def _find(directory: str) -> tuple[list[str], str]:
    """Return a folder's pictures, and what is said of its other files."""
    found = heaps.find_pictures(
        directory,
        is_picture=_is_picture,
        begins_as_picture=_begins_as_picture,
    )
    paths = [files.join(directory, name) for name in found.pictures[""]]
    return sorted(paths), heaps.describe_ignored(found.ignored, {})


def _is_picture(name: str) -> bool:
    return name.lower().endswith(picture_files.extensions())


def _begins_as_picture(head: bytes) -> bool:
    return bool(picture_files.kind_of(head))
