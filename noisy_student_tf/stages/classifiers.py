"""A trained classifier to be measured, however it was stored."""

import dataclasses
import functools
import json
from typing import Any, Literal

import keras
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.devices import replicas
from noisy_student_tf.evaluation import adversarial, evaluate
from noisy_student_tf.model import saved
from noisy_student_tf.pipeline import decode
from noisy_student_tf.stages import runs

_SAVED_MODEL = "saved_model.pb"
_SIGNATURE, _OUTPUT = "images", "logits"


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier, and how its test images are made.

    Attributes:
        name: In the tables.
        architecture: The published variant's name.
        logits_fn: Images float32 [batch, resolution, resolution, 3] in
            [0, 255] to logits float32 [batch, num_classes], compiled, on all
            replicas of the strategy.
        num_classes: Of the logits.
        class_names: One a class, or empty.
        resolution: Side of the test images in pixels.
        crop: The test crop.
        weights: Which weights are measured.
        gradient_sign: For attacks, on all replicas; None: that of logits_fn.
    """

    name: str
    architecture: str
    logits_fn: evaluate.LogitsFn
    num_classes: int
    class_names: tuple[str, ...]
    resolution: int
    crop: decode.TestCrop
    weights: Literal["ema", "raw"]
    gradient_sign: adversarial.Attack | None = None

    def row(self, *, set: str, split: str) -> dict[str, Any]:
        """Return how a row of `results.json` begins that is of this one."""
        return {
            "model": self.name,
            "set": set,
            "split": split,
            "resolution": self.resolution,
            "weights": self.weights,
        }


def load(
    path: str,
    *,
    weights: Literal["ema", "raw"] = "ema",
    resolution: int = 0,
    name: str = "",
    strategy: tf.distribute.Strategy | None = None,
) -> Classifier:
    """Load a model's directory, an imported one's, or a SavedModel.

    Args:
        path: A directory with `model.json`, or with `saved_model.pb`.
        weights: The averages, or what the optimizer left; SavedModels hold
            the averages.
        resolution: Side of the test images in pixels. 0: the model's own.
        name: In the tables. Empty: the last part of the path.
        strategy: Over whose replicas each batch is divided, of one process;
            SavedModels compute on one device. None: one device.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: It is an export of another version, or cannot be measured
            as asked.
    """
    name = name or path.rstrip("/").rpartition("/")[2]
    if files.exists(files.join(path, saved.SPEC_FILE)):
        return _load_directory(path, weights, resolution, name, strategy)
    if files.exists(files.join(path, _SAVED_MODEL)):
        return _load_saved_model(path, weights, resolution, name)
    raise FileNotFoundError(
        f"{path}: there is neither {saved.SPEC_FILE} nor {_SAVED_MODEL}. Name "
        "the directory of a trained or imported model, or of a SavedModel."
    )


def _load_directory(
    path: str,
    weights: Literal["ema", "raw"],
    resolution: int,
    name: str,
    strategy: tf.distribute.Strategy | None,
) -> Classifier:
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model, spec = saved.load(path, weights=weights)
    logits_fn, gradient_sign = _compile(
        model, resolution or spec.resolution, strategy
    )
    return Classifier(
        name=name,
        architecture=spec.name,
        logits_fn=logits_fn,
        gradient_sign=gradient_sign,
        num_classes=spec.num_classes,
        class_names=spec.class_names,
        resolution=resolution or spec.resolution,
        crop=runs.test_crop(spec),
        weights=weights,
    )


def _compile(
    model: keras.Model, resolution: int, strategy: tf.distribute.Strategy
) -> tuple[evaluate.LogitsFn, adversarial.Attack | None]:
    """Compile a model without noise, and its gradient on several replicas.

    On one device it is compiled once for batches of all sizes, elsewhere once
    for each size.
    """

    def logits_of(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    spread = replicas.spread(logits_of, strategy)
    if spread is logits_of:
        shape = tf.TensorSpec([None, resolution, resolution, 3], tf.float32)
        compiled = tf.function(
            logits_of, input_signature=[shape], autograph=False
        )
        return compiled, None
    gradient_sign = adversarial.gradient_sign_of(logits_of)
    return (
        tf.function(spread, autograph=False),
        tf.function(replicas.spread(gradient_sign, strategy), autograph=False),
    )


def _load_saved_model(
    path: str, weights: str, resolution: int, name: str
) -> Classifier:
    spec = _read_asset(path, "model.json", ("name", "num_classes"))
    preprocessing = _read_asset(
        path, "preprocessing.json", ("crop", "resolution")
    )
    if weights != "ema" or resolution not in (0, preprocessing["resolution"]):
        raise ValueError(
            f"{path}: a SavedModel holds the averaged weights, and takes "
            f"images of {preprocessing['resolution']} pixels; asked for is "
            f"weights={weights}, resolution={resolution}. Measure the model's "
            "directory instead."
        )
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures.get(_SIGNATURE)
    if signature is None or _OUTPUT not in signature.structured_outputs:
        raise _other_version(
            path,
            f"signatures {sorted(loaded.signatures)} instead of "
            f"{_SIGNATURE!r} with the output {_OUTPUT!r}",
        )
    return Classifier(
        name=name,
        architecture=spec["name"],
        logits_fn=functools.partial(_call, loaded, signature),
        num_classes=spec["num_classes"],
        class_names=tuple(spec.get("class_names", ())),
        resolution=preprocessing["resolution"],
        crop=preprocessing["crop"],
        weights="ema",
    )


def _call(loaded: Any, signature: Any, images: tf.Tensor) -> tf.Tensor:
    # The loaded object owns the variables: it must outlive its signature.
    del loaded
    return signature(images=images)[_OUTPUT]


def _read_asset(path: str, name: str, fields: tuple[str, ...]) -> Any:
    """Read a JSON asset of a SavedModel, with some fields at least."""
    asset = files.join(path, "assets", name)
    if not files.exists(asset):
        raise _other_version(path, f"no assets/{name}")
    try:
        content = files.read_json(asset)
    except json.JSONDecodeError as error:
        raise _other_version(path, f"a broken assets/{name}") from error
    missing = [field for field in fields if field not in content]
    if missing:
        raise _other_version(path, f"no {', '.join(missing)} in assets/{name}")
    return content


def _other_version(path: str, found: str) -> ValueError:
    return ValueError(
        f"{path}: not an export of this version: it has {found}. Export the "
        "model again with python -m run_scripts.export."
    )
