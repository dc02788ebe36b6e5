"""Makes the teacher that labels: loaded, averaged, calibrated and measured.

Or takes what a teacher of any origin said of the images.
"""

import dataclasses
import hashlib
import json
from typing import Any

import tensorflow as tf
from absl import logging

from noisy_student_tf import files, recipes, terminal
from noisy_student_tf.devices import replicas, runtime
from noisy_student_tf.evaluation import calibration, evaluate, metrics
from noisy_student_tf.model import saved, specs
from noisy_student_tf.pseudo_labels import (
    given,
    given_images,
    plausibility,
    teacher,
)
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import noised_teacher, runs

LABELER = "labeler.json"

# Held out of training, and no result is reported on it.
_SPLIT = "validation"


@dataclasses.dataclass(frozen=True)
class Labeler:
    """A teacher ready to label.

    Attributes:
        predict_fn: See `teacher.PredictFn`.
        spec: Resolution and classes of the first model.
        fingerprint: Of all that the labels depend on.
    """

    predict_fn: teacher.PredictFn
    spec: specs.ModelSpec
    fingerprint: str


def make(run: runs.Run, teacher_directory: str, directory: str) -> Labeler:
    """Load a teacher with its ensemble, and say how good it is.

    Args:
        run: Its `labeling` is read.
        teacher_directory: The trained model that labels.
        directory: Of the predictions; `labeler.json` keeps there what was
            measured, so that all workers and restarts use one temperature.

    Raises:
        FileNotFoundError: A model is missing.
        ValueError: The models do not fit each other or the data.
    """
    settings = run.config.labeling
    others = [part.strip() for part in settings.ensemble.split(",")]
    directories = [teacher_directory, *filter(None, others)]
    with run.strategy.scope():
        loaded = [saved.load(each) for each in directories]
    spec = loaded[0][1]
    class_names = tuple(runs.class_names(run))
    for each, (_, found) in zip(directories, loaded, strict=True):
        _check_fit(each, found, spec, class_names)
    predict_fn = teacher.average(
        [_probabilities(run, model) for model, _ in loaded]
    )
    if settings.flip:
        predict_fn = teacher.with_flip(predict_fn)
    predict_fn = replicas.spread(predict_fn, run.strategy)
    made_of: dict[str, Any] = {
        "models": [saved.fingerprint(each) for each in directories],
        "flip": settings.flip,
        "calibrate": settings.calibrate,
        "noised": run.config.self_training.noised_teacher,
    }
    measured = _measured(run, directory, made_of, predict_fn, spec)
    temperature = measured["temperature"]
    fingerprint = made_of["models"][0]
    if len(directories) > 1 or any(list(made_of.values())[1:]):
        text = json.dumps([made_of, temperature], sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return Labeler(
        teacher.with_temperature(predict_fn, temperature), spec, fingerprint
    )


def teacher_of(directory: str) -> str:
    """Return the fingerprint of the teacher that made predictions.

    Args:
        directory: Of the predictions.

    Returns:
        SHA-256 in hex, see `saved.fingerprint`; empty where nothing is kept.
    """
    path = files.join(directory, LABELER)
    if not files.exists(path):
        return ""
    return str(files.read_json(path)["made_of"]["models"][0])


def keep_given(run: runs.Run, directory: str, teacher: recipes.Model) -> None:
    """Keep of given probabilities what is kept of a teacher that labels.

    Args:
        run: Of the labels.
        directory: Of the predictions.
        teacher: A table of probabilities, taken already.
    """
    manifest = shards.read_manifest(runs.directory(run, teacher))
    measured = [row for row in manifest["results"] if row["split"] == _SPLIT]
    temperature = run.config.self_training.teacher_predictions_temperature
    _keep(
        files.join(directory, LABELER),
        {
            "made_of": {
                "models": [manifest["fingerprint"]],
                "flip": False,
                "calibrate": False,
                "noised": False,
            },
            "accuracy": measured[0]["accuracy"] if measured else None,
            "num_images": measured[0]["num_images"] if measured else 0,
            "calibration": None,
            "temperature": temperature,
        },
    )


def _probabilities(run: runs.Run, model: Any) -> teacher.PredictFn:
    """Return a model as a teacher: its averaged weights, without noise.

    The ablation's teacher has the noise of a student.
    """
    if run.config.self_training.noised_teacher:
        return noised_teacher.predict_fn(
            model, run.config.augmentation.unlabeled, seed=run.config.seed
        )
    return lambda images: tf.nn.softmax(model(images, training=False))


def _check_fit(
    directory: str,
    found: specs.ModelSpec,
    first: specs.ModelSpec,
    class_names: tuple[str, ...],
) -> None:
    if tuple(found.class_names) != class_names:
        raise ValueError(
            f"{directory}: the model knows {found.num_classes} classes "
            f"{list(found.class_names)[:5]}..., the labeled images have "
            f"{len(class_names)}: {list(class_names[:5])}.... Give a teacher "
            "of the same classes."
        )
    same = (first.resolution, runs.test_crop(first))
    other = (found.resolution, runs.test_crop(found))
    if same != other:
        raise ValueError(
            f"--labeling.ensemble={directory}: the model sees images of "
            f"{other}, the teacher of {same} (side in pixels, test crop). Give "
            "models of one resolution."
        )


def _measured(
    run: runs.Run,
    directory: str,
    made_of: dict[str, Any],
    predict_fn: teacher.PredictFn,
    spec: specs.ModelSpec,
) -> dict[str, Any]:
    """Return accuracy and temperature: as kept, or measured and kept."""
    path = files.join(directory, LABELER)
    measured: dict[str, Any] = {}
    if files.exists(path):
        measured = files.read_json(path)
    if measured.get("made_of") != made_of:
        measured = _keep(
            path, {"made_of": made_of, **_measure(run, predict_fn, spec)}
        )
    if measured["accuracy"] is None:
        logging.warning(
            "There are no validation images: nothing says how good the "
            "teacher is. Set --data.validation_fraction."
        )
        return measured
    logging.info(
        "The teacher is right on %.2f %% of %d held-out (validation) images.",
        100 * measured["accuracy"],
        measured["num_images"],
    )
    for warning in plausibility.accuracy_warnings(
        measured["accuracy"], spec.num_classes
    ):
        logging.warning("%s", warning)
    return measured


def _keep(path: str, measured: dict[str, Any]) -> dict[str, Any]:
    """Keep what was measured, and return what is kept.

    Workers measure side by side, and rounding may set their temperatures
    apart: all take those of the first, for the labels depend on them.
    """
    if files.exists(path):
        if files.read_json(path)["made_of"] == measured["made_of"]:
            return files.read_json(path)
        files.remove(path)
    return files.write_json_once(path, measured)


def _measure(
    run: runs.Run, predict_fn: teacher.PredictFn, spec: specs.ModelSpec
) -> dict[str, Any]:
    """Measure on the validation images, and calibrate if asked for."""
    nothing = {"accuracy": None, "num_images": 0, "calibration": None}
    if _SPLIT not in shards.read_manifest(run.workdir.labeled)["splits"]:
        if run.config.labeling.calibrate:
            raise ValueError(
                "--labeling.calibrate: there are no validation images to fit "
                "the temperature on. Set --data.validation_fraction."
            )
        return {**nothing, "temperature": 1.0}
    hosts = runtime.other_hosts(run.strategy)
    stream = runs.test_stream(run, spec, split=_SPLIT, hosts=hosts)
    logits_fn = tf.function(
        lambda images: teacher.log_probabilities(predict_fn(images)),
        autograph=False,
    )
    if not run.config.labeling.calibrate:
        measured = evaluate.evaluate(logits_fn, stream, spec.num_classes)
        return {
            "accuracy": measured["accuracy"],
            "num_images": measured["num_images"],
            "calibration": None,
            "temperature": 1.0,
        }
    fitted = calibration.calibrate(*calibration.collect(logits_fn, stream))
    logging.info(
        "Calibrated: temperature %.3f, calibration error %.4f -> %.4f.",
        fitted.temperature,
        fitted.before.calibration_error,
        fitted.after.calibration_error,
    )
    if fitted.is_at_bound:
        logging.warning(
            "The temperature is at its bound %g: the validation images are "
            "too few, or the teacher makes no mistake on them.",
            fitted.temperature,
        )
    return {
        "accuracy": fitted.accuracy,
        "num_images": fitted.num_images,
        "calibration": dataclasses.asdict(fitted),
        "temperature": fitted.temperature,
    }


def read_predictions(run: runs.Run, model: recipes.Model) -> given.Given:
    """Return the probabilities that stand in a model's place.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See `given.read`.
    """
    return given.read(
        model.predictions_from,
        class_names=runs.class_names(run),
        temperature=run.config.self_training.teacher_predictions_temperature,
    )


def take_predictions(run: runs.Run, model: recipes.Model) -> None:
    """Check given probabilities, and measure them on what they are of.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See `given.read`, `given_images.cover` and
            `given_images.say`.
    """
    with terminal.working(f"reading {model.predictions_from}"):
        table = read_predictions(run, model)
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    indexes = {
        split: _read_indexes(run.workdir.labeled, split) for split in splits
    }
    unlabeled = _read_indexes(run.workdir.unlabeled, "unlabeled")
    coverage = given_images.cover(table, {**indexes, "unlabeled": unlabeled})
    given_images.say(table, coverage)
    found, standing = [], {}
    for split, parts in indexes.items():
        rows = coverage.rows[split]
        if not len(rows) or (rows < 0).any():
            logging.warning(
                "%s has %d of the %d %s images: nothing is measured on them.",
                table.source,
                (rows >= 0).sum(),
                len(rows),
                split,
            )
            continue
        answers = given_images.answers(table, rows, parts)
        standing[split] = dataclasses.asdict(
            metrics.standing(answers.labels, answers.logits.argmax(axis=1))
        )
        if split != "train":
            found.append(_given_row(run, model, split, answers))
    shards.write_manifest(
        runs.directory(run, model),
        {
            "model": model.name,
            "resolution": 0,
            "num_parameters": 0,
            "fingerprint": table.fingerprint,
            "num_rows": len(table.names),
            "num_unknown": len(coverage.unknown),
            "num_missing": int((coverage.rows["unlabeled"] < 0).sum()),
            "standing": standing,
            "results": found,
        },
    )


def _read_indexes(directory: str, split: str) -> list[given_images.Index]:
    paths = shards.index_paths(directory, split)
    return list(map(given_images.read_index, paths))


def _given_row(
    run: runs.Run, model: recipes.Model, split: str, answers: held_out.Rows
) -> dict[str, Any]:
    """Return the row of `results.json` of what was given of a split."""
    return evaluate.make_row(
        model=model.name,
        set=run.config.preset,
        split=split,
        resolution=0,
        weights="given",
        metrics=evaluate.measure_and_keep(
            answers,
            path=held_out.path(runs.directory(run, model), split),
            class_names=runs.class_names(run),
            where=f"{model.name}, {split} images",
        ),
    )
