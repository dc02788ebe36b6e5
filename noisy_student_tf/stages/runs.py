"""What every stage is given, and what the stages share."""

import dataclasses
import hashlib
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from data_prep.shards import sidecars
from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.devices import runtime
from noisy_student_tf.model import specs, starts
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.records import shards
from noisy_student_tf.weights import packages


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        config: The resolved configuration.
        workdir: The folders.
        strategy: Where models live and compute.
        profile_steps: Between which steps of every training TensorFlow is
            profiled; None: never.
    """

    config: configs.Config
    workdir: workdirs.Workdir
    strategy: tf.distribute.Strategy
    profile_steps: tuple[int, int] | None = None

    @property
    def recipe(self) -> recipes.Recipe:
        """The run's models, labels and stages."""
        return recipes.of(self.config)


def begin(
    config: configs.Config,
    workdir: workdirs.Workdir,
    *,
    strategy: tf.distribute.Strategy | None = None,
    profile_steps: tuple[int, int] | None = None,
) -> Run:
    """Check a run, and write its configuration before anything is built.

    Args:
        config: The resolved configuration.
        workdir: The folders.
        strategy: Where models live; None: what the configuration says.
        profile_steps: See `Run`.

    Raises:
        FileNotFoundError: There is no model to begin with.
        ValueError: The workdir was made with another configuration, or a
            model to begin with does not fit.
    """
    # Before anything is written: the workdir stays free for the mended flags.
    starts.check(packages.located(config))
    workdirs.check_config(config, workdir)
    run = Run(
        config,
        workdir,
        strategy or runtime.make_strategy(config.runtime),
        profile_steps,
    )
    on_chief(run, lambda: workdirs.write_config(config, workdir))
    return run


def directory(run: Run, model: recipes.Model | str) -> str:
    """Return the directory of a model of the run, or of another."""
    if isinstance(model, str):
        return packages.directory_of(model)
    return run.workdir.folder(model.folder)


def on_chief(run: Run, stage: Callable[[], object]) -> None:
    """Let the chief do something, and all workers wait until it is done."""
    if runtime.is_chief(run.strategy):
        stage()
    runtime.wait_for_all(run.strategy)


def is_done(directory: str, title: str) -> bool:
    """Tell whether a stage is finished, and say so in the log."""
    if shards.is_finished(directory):
        logging.info("%s: finished already (%s)", title, directory)
        return True
    logging.info("%s -> %s", title, directory)
    files.make_directories(directory)
    return False


def final_model(run: Run) -> str:
    """Return the folder of the model that a run ends with.

    That is the fine-tuned student, unless fine-tuning made it worse on the
    validation images: where training crops do not magnify what they show,
    a higher resolution is a change of scale that the network has not seen.
    """
    *_, last = run.recipe.models
    if not last.is_finetuned:
        return directory(run, last)
    student, finetuned = directory(run, last.start), directory(run, last)
    before, after = map(_validation_accuracy, (student, finetuned))
    if before is None or after is None or after >= before:
        return finetuned
    logging.warning(
        "FixRes fine-tuning lowered the validation accuracy from %.2f %% to "
        "%.2f %%: the student before it is exported.",
        100 * before,
        100 * after,
    )
    return student


def _validation_accuracy(directory: str) -> float | None:
    """Return a model's accuracy at its own resolution, if it was measured."""
    manifest = shards.read_manifest(directory)
    for row in manifest["results"]:
        if (row["split"], row["resolution"]) == (
            "validation",
            manifest["resolution"],
        ):
            return row["accuracy"]
    return None


def held_out_split(run: Run) -> str:
    """Return `test`, or `validation` where there are no test images.

    Raises:
        ValueError: There are none of both.
    """
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    for name in ("test", "validation"):
        if name in splits:
            return name
    raise ValueError(
        f"{run.workdir.labeled}: there are no held-out images to measure on. "
        "Give --data.evaluation, or set --data.evaluation_fraction."
    )


def test_stream(
    run: Run,
    spec: specs.ModelSpec,
    *,
    split: str,
    folder: str = "labeled",
    resolution: int = 0,
    batch_size: int = 0,
    is_named: bool = False,
) -> tf.data.Dataset:
    """Return a split's images as a model is tested on them.

    Args:
        run: Whose images they are.
        spec: The model's.
        split: Of the folder.
        folder: Of the run.
        resolution: Side of the images in pixels; 0: the model's.
        batch_size: 0: that of evaluation.
        is_named: Whether records without ids, ImageNet's, get those of their
            indexes.
    """
    directory = run.workdir.folder(folder)
    shard_set = shards.open_split(directory, split)
    image_ids: list[bytes] = []
    if is_named and shard_set.schema == "imagenet":
        indexes = sidecars.split_indexes(directory, split)
        image_ids = sidecars.read_column(indexes, "image_id").to_pylist()
    return eval_stream.make_eval_stream(
        shard_set,
        resolution=resolution or spec.resolution,
        batch_size=batch_size or run.config.training.evaluation_batch_size,
        crop=test_crop(spec),
        image_ids=image_ids,
    )


def test_crop(spec: specs.ModelSpec) -> decode.TestCrop:
    """Return how a model's test images are cut."""
    return decode.test_crop(spec.small_image_strides)


def class_names(run: Run) -> list[str]:
    """Return the names of the labeled images' classes."""
    return shards.read_manifest(run.workdir.labeled)["class_names"]


def stage_seed(seed: int, name: str) -> int:
    """Return the seed of one stage, in [0, 2^31)."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
