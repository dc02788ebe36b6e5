"""What every stage is given, and what the stages share."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import logging

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import presets
from noisy_student_tf.devices import runtime
from noisy_student_tf.model import saved, specs
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.records import parquet_files, shards


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


def start(
    config: configs.Config,
    workdir: workdirs.Workdir,
    profile_steps: tuple[int, int] | None = None,
) -> Run:
    """Set this process up for a run, and begin it; see `begin`."""
    runtime.set_up_logging()
    logging.info("%s; whole in %s", presets.describe(config), workdir.config)
    runtime.configure(config)
    return begin(config, workdir, profile_steps=profile_steps)


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
        FileNotFoundError: There is no model, or table of a teacher's
            probabilities, to begin with.
        ValueError: The workdir was made with another configuration, or a
            model to begin with does not fit; or workers differ.
    """
    # Before anything is written: the workdir stays free for the mended flags.
    saved.check_starts(config, _announced(config.model.initial_weights))
    workdirs.check_config(config, workdir)
    run = Run(
        config,
        workdir,
        strategy or runtime.make_strategy(config.runtime),
        profile_steps,
    )
    on_chief(run, lambda: workdirs.write_config(config, workdir))
    if runtime.num_workers(run.strategy) > 1:
        # Spared who trains alone.
        from noisy_student_tf.devices import alike

        alike.check(run.strategy, config, workdir.config)
    return run


def directory(run: Run, model: recipes.Model | str) -> str:
    """Return the directory of a model of the run, or of another."""
    if isinstance(model, str):
        from noisy_student_tf.weights import packages

        return packages.directory_of(model)
    return run.workdir.folder(model.folder)


def _announced(initial_weights: str) -> str:
    """Return the directory of weights that are named, if any; say which."""
    if not initial_weights:
        return ""
    # Spared who begins with none.
    from noisy_student_tf.weights import packages

    return packages.announced(initial_weights)


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


def final_model(run: Run) -> tuple[str, str]:
    """Return the folder of the model that a run ends with, and why it does.

    That is the one with the best accuracy on validation images, of equally
    good ones the last: a student may be worse than its teacher, and
    fine-tuning at a higher resolution may harm. Without validation images it
    is the last one.
    """
    *others, last = run.recipe.candidates
    folder, accuracy = directory(run, last), _validation_accuracy(run, last)
    if accuracy is None:
        return folder, "the last one: there are no validation images to choose"
    best, highest = last, accuracy
    for other in reversed(others):
        found = _validation_accuracy(run, other)
        if found is not None and found > highest:
            best, highest = other, found
    reason = f"the best on validation images, with {highest:.2%} right"
    if best != last:
        reason += f"; {last.title} has {accuracy:.2%}"
        logging.warning("%s is exported: %s.", best.title, reason)
    return directory(run, best), reason


def _validation_accuracy(run: Run, model: recipes.Model) -> float | None:
    """Return a model's accuracy at its own resolution, if it was measured.

    A run may drop a model that it has used.
    """
    folder = directory(run, model)
    if not shards.is_finished(folder):
        return None
    manifest = shards.read_manifest(folder)
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
    hosts: Sequence[str] = (),
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
        hosts: That make the images, for a model that is spread over them;
            see `runtime.other_hosts`.
    """
    directory = run.workdir.folder(folder)
    shard_set = shards.open_split(directory, split)
    image_ids: list[bytes] = []
    if is_named and shard_set.schema == "imagenet":
        for path in shards.index_paths(directory, split):
            index = parquet_files.read_columns(path, ["image_id"])
            image_ids += index["image_id"].to_pylist()
    make_part = functools.partial(
        eval_stream.make_eval_stream,
        shard_set,
        resolution=resolution or spec.resolution,
        batch_size=batch_size or run.config.training.evaluation_batch_size,
        crop=test_crop(spec),
        image_ids=image_ids,
    )
    if not hosts:
        return make_part()
    from noisy_student_tf.devices import pod

    return pod.made_on(hosts, make_part)


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
