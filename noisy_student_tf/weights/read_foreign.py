"""From a file of weights to a model directory of ours, with its checks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import architectures, cost, saved, specs
from noisy_student_tf.records import shards
from noisy_student_tf.weights import (
    compare,
    detect,
    formats,
    names,
    weight_file,
)

Arrays = Mapping[str, np.ndarray]


class Pairs(NamedTuple):
    """A file, and which of its variables is which of ours.

    Attributes:
        file: Opened.
        names: Path of our variable -> name in the file.
    """

    file: weight_file.WeightFile
    names: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to import a file.

    Attributes:
        request: What the user says about the model in the file.
        use_raw_variables: Take what the optimizer left, not its averages.
        scope: Of the model in a checkpoint that holds several.
        num_classes: Another number makes a fresh classifier; None: the
            file's.
        head_initializer: Of a fresh classifier.
        seed: Of a fresh classifier.
    """

    request: weight_file.Hints = dataclasses.field(
        default_factory=weight_file.Hints
    )
    use_raw_variables: bool = False
    scope: str = ""
    num_classes: int | None = None
    head_initializer: architectures.HeadInitializer = "published"
    seed: int = 0


def import_weights(source: str, directory: str, options: Options) -> str:
    """Write a model directory from a file of weights.

    All is read and checked before anything is written, and read again
    afterwards; a manifest closes the directory.

    Args:
        source: A file, the prefix of a checkpoint, or a directory with one.
        directory: Must be missing or empty.
        options: How.

    Returns:
        What was found, assumed, written and checked, a table in text.

    Raises:
        FileNotFoundError: There is nothing to read.
        ValueError: The file is damaged, of another kind, or does not hold the
            model; or the directory holds something.
    """
    _check_empty(directory)
    file = formats.open_file(
        source,
        use_raw_variables=options.use_raw_variables,
        scope=options.scope,
    )
    raw_file = _raw_file(file, options)
    found = detect.detect(file, options.request)
    spec = _final_spec(file, found, options)
    keeps_head = (
        found.has_classifier and spec.num_classes == found.spec.num_classes
    )
    sets: dict[saved.Weights, Pairs] = {
        "ema": _match(file, found, keeps_head),
        "raw": _match(raw_file, found, keeps_head),
    }
    model = architectures.build(spec, seed=options.seed)
    if not keeps_head:
        architectures.initialize(
            model, options.head_initializer, seed=options.seed
        )
    _write(directory, model, sets)
    return _describe(
        file=file,
        found=found,
        spec=spec,
        keeps_head=keeps_head,
        has_raw=raw_file is not file,
        num_compared=len(sets["ema"].names),
        directory=directory,
    )


def _check_empty(directory: str) -> None:
    if files.exists(directory) and (
        not files.is_directory(directory) or files.list_directory(directory)
    ):
        raise ValueError(
            f"--output={directory} exists and is not empty. Name another "
            "directory, or remove this one."
        )


def _match(
    file: weight_file.WeightFile, found: detect.Detected, keeps_head: bool
) -> Pairs:
    """Pair all variables that are to be taken; the file's others must fit."""
    pairs = compare.match(
        file, found.spec, with_classifier=found.has_classifier
    )
    head = f"{names.CLASSIFIER}/"
    return Pairs(
        file,
        {
            path: name
            for path, name in pairs.items()
            if keeps_head or not path.startswith(head)
        },
    )


def _raw_file(
    file: weight_file.WeightFile, options: Options
) -> weight_file.WeightFile:
    """Open a checkpoint's raw variables, where it has them beside averages."""
    if not file.is_tf1 or options.use_raw_variables:
        return file
    try:
        return formats.open_file(
            file.path, use_raw_variables=True, scope=options.scope
        )
    except ValueError:
        return file  # Averages alone were released.


def _final_spec(
    file: weight_file.WeightFile, found: detect.Detected, options: Options
) -> specs.ModelSpec:
    """Return the specification of what is written."""
    class_names = options.request.class_names or ()
    held = found.spec.num_classes if found.has_classifier else 0
    # Names alone ask for no fresh classifier: they may be one too many.
    num_classes = options.num_classes or held or len(class_names)
    if not num_classes:
        raise ValueError(
            f"{file.path} has no classifier. Give --num_classes, and a fresh "
            "one is made."
        )
    if class_names and len(class_names) != num_classes:
        raise ValueError(
            f"--class_names_file has {len(class_names)} names for "
            f"{num_classes} classes. Give one name a line for each class; "
            f"--num_classes={len(class_names)} makes a fresh classifier."
        )
    if not class_names and num_classes == held:
        class_names = found.spec.class_names
    return dataclasses.replace(
        found.spec, num_classes=num_classes, class_names=class_names
    )


def _read(pairs: Pairs) -> Arrays:
    """Read variables, named and arranged as ours, float32.

    Raises:
        ValueError: One cannot be read, or is not finite.
    """
    arrays = {}
    for path, name in pairs.names.items():
        array = pairs.file.naming.from_file(path, pairs.file.read(name))
        if not np.isfinite(array).all():
            raise ValueError(
                f"{pairs.file.path}: {name} holds numbers that are not "
                "finite. The file is damaged, or its training diverged."
            )
        arrays[path] = array
    return arrays


def _write(
    directory: str, model: keras.Model, sets: Mapping[saved.Weights, Pairs]
) -> None:
    """Write a model directory and read it again; all of it or nothing."""
    arrays = {"ema": _read(sets["ema"])}
    is_same = sets["raw"].file is sets["ema"].file
    arrays["raw"] = arrays["ema"] if is_same else _read(sets["raw"])
    variables = {variable.path: variable for variable in model.variables}
    try:
        files.make_directories(directory)
        for weights in sets:
            for path, array in arrays[weights].items():
                variables[path].assign(array)
            saved.write_weights(saved.weights_path(directory, weights), model)
        files.write_text(
            files.join(directory, saved.SPEC_FILE), specs.to_json(model.spec)
        )
        for weights, pairs in sets.items():
            _check_round_trip(directory, weights, pairs)
        manifest = _manifest(directory, sets["ema"].file, model.spec)
        shards.write_manifest(directory, manifest)
    except BaseException:
        files.remove(directory)
        raise


def _check_round_trip(
    directory: str, weights: saved.Weights, pairs: Pairs
) -> None:
    """Compare what was written, turned back, with the source, bit for bit."""
    model, _ = saved.load(directory, weights=weights)
    naming = pairs.file.naming
    for variable in model.variables:
        name = pairs.names.get(variable.path)
        if name is None:
            continue
        turned_back = naming.to_file(variable.path, variable.numpy())
        if not np.array_equal(turned_back, pairs.file.read(name)):
            raise ValueError(
                f"{saved.weights_path(directory, weights)}: "
                f"{variable.path} differs from {name} of {pairs.file.path} "
                "after writing. Nothing is kept; check the disk and repeat."
            )


def _manifest(
    directory: str, file: weight_file.WeightFile, spec: specs.ModelSpec
) -> dict[str, Any]:
    return {
        "model": "imported",
        "source": file.path,
        "format": file.format,
        "resolution": spec.resolution,
        "crop": _crop(spec),
        "mean_rgb": spec.mean_rgb,
        "std_rgb": spec.std_rgb,
        "num_parameters": cost.count_parameters(spec),
        "fingerprint": saved.fingerprint(directory),
        "results": [],
    }


def _describe(
    *,
    file: weight_file.WeightFile,
    found: detect.Detected,
    spec: specs.ModelSpec,
    keeps_head: bool,
    has_raw: bool,
    num_compared: int,
    directory: str,
) -> str:
    """Return a table: property, value, and how it is known."""
    origins = found.origins
    is_svhn = spec.small_image_strides
    strides = "small images' (SVHN)" if is_svhn else "ImageNet's"
    classifier = "the file's classifier"
    if not keeps_head:
        count = found.spec.num_classes
        held = f"{count} classes" if found.has_classifier else "none"
        classifier = f"a fresh classifier; {held} in the file"
    raw = "the same weights"
    if has_raw:
        raw = "the checkpoint's raw ones, equal too"
    compared = f"{num_compared} variables"
    rows = [
        ("format", file.format, "from the content"),
        ("variant", compare.describe_body(spec), origins["variant"]),
        ("classes", str(spec.num_classes), classifier),
        ("strides", strides, origins["strides"]),
        ("resolution", f"{spec.resolution} pixels", origins["resolution"]),
        ("crop", _crop(spec), "published, with these strides"),
        ("mean", _numbers(spec.mean_rgb), origins["mean"]),
        ("std", _numbers(spec.std_rgb), origins["std"]),
        ("parameters", f"{cost.count_parameters(spec):,}", "trainable"),
        ("ema.weights.h5", compared, "equal to the file's when turned back"),
        ("raw.weights.h5", compared, raw),
    ]
    width = max(len(value) for _, value, _ in rows) + 2
    lines = [
        f"{title:<16}{value:<{width}}({how})" for title, value, how in rows
    ]
    return "\n".join([*lines, f"{'written to':<16}{directory}"])


def _crop(spec: specs.ModelSpec) -> str:
    """Return which part of a picture the model is shown, in words."""
    if spec.small_image_strides:
        return "whole picture"
    share = spec.resolution / (spec.resolution + 32)
    return f"center, {share:.3f} of the short side"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
