"""The stage that measures how robust the models of a run are.

It corrupts, perturbs and attacks the held-out images, and measures every
model on them, the fine-tuned one at the training resolution, too: fine-tuning
at a higher one is known to cost robustness. The teacher normalizes; where it
is a table of probabilities, the first student does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep import build_robustness
from data_prep.robustness import robustness_shards
from data_prep.shards import beam_shards
from data_prep.sources import evaluation_sources
from noisy_student_tf import files, recipes
from noisy_student_tf.devices import runtime
from noisy_student_tf.evaluation import results, robustness
from noisy_student_tf.evaluation.significance import told_apart
from noisy_student_tf.model import saved
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.records import robustness_sets, shards
from noisy_student_tf.stages import classifiers, runs

Rows = list[results.Row]


def measure(run: runs.Run) -> None:
    """Build the sets and measure all models of a run on them.

    Raises:
        ValueError: There are no held-out images.
    """
    directory = run.workdir.robustness
    if runs.is_done(directory, "Robustness"):
        return
    split = runs.held_out_split(run)
    _build(run, split)
    rows: Rows = []
    for model in run.recipe.networks:
        for resolution in _resolutions(run, model):
            rows += _measure_model(run, model, resolution, split)
    baseline = run.recipe.networks[0].name
    rows = told_apart.annotate(normalize(rows, baseline=baseline), baseline)
    shards.write_manifest(directory, {"results": rows})


def _build(run: runs.Run, split: str) -> None:
    spec = saved.load_spec(runs.directory(run, run.recipe.networks[0]))
    settings = run.config.evaluation
    build_robustness.build(
        source=f"{run.workdir.labeled}#{split}",
        directory=run.workdir.robustness_sets,
        options=robustness_shards.Options(
            resolution=run.config.model.resolution,
            crop=runs.test_crop(spec),
            num_images=settings.robustness_images,
            num_sequences=settings.robustness_sequences,
        ),
        beam=beam_shards.Beam.of(run.config.data),
    )


def _resolutions(run: runs.Run, model: recipes.Model) -> list[int]:
    """Return a model's own resolution, and FixRes' former one."""
    own = saved.load_spec(runs.directory(run, model)).resolution
    if not model.is_finetuned:
        return [own]
    return list(dict.fromkeys([own, run.config.model.resolution]))


def _measure_model(
    run: runs.Run, model: recipes.Model, resolution: int, split: str
) -> Rows:
    """Measure one model, unless that is done already."""
    name, path = model.name, runs.directory(run, model)
    kept = files.join(run.workdir.robustness, f"{name}-{resolution}.json")
    fingerprint = saved.fingerprint(path)
    if files.exists(kept):
        content = files.read_json(kept)
        if content["fingerprint"] == fingerprint:
            return content["rows"]
    logging.info("Robustness of %s at %d pixels.", name, resolution)
    classifier = classifiers.load(
        path,
        resolution=resolution,
        name=name,
        strategy=runtime.own_strategy(run.strategy),
    )
    head = classifier.row(set=run.config.preset or "data", split=split)
    rows = [head | row for row in _measure_all(run, classifier, split)]
    files.write_json(kept, {"fingerprint": fingerprint, "rows": rows})
    return rows


def _measure_all(
    run: runs.Run, classifier: classifiers.Classifier, split: str
) -> Rows:
    batch_size = run.config.training.evaluation_batch_size
    sets = run.workdir.robustness_sets
    num_images = shards.read_manifest(sets)["num_images"]
    held_out = eval_stream.make_eval_stream(
        shards.open_split(run.workdir.labeled, split),
        resolution=classifier.resolution,
        batch_size=min(batch_size, num_images),
        crop=classifier.crop,
    )
    return [
        robustness.measure_corruptions(
            classifier.logits_fn,
            *corruption_stream(
                files.join(sets, robustness_sets.CORRUPTED),
                classifier,
                batch_size,
            ),
            keeps_images=True,
        ),
        robustness.measure_perturbations(
            classifier.logits_fn,
            sequence_readers(
                files.join(sets, robustness_sets.PERTURBED), classifier
            ),
            keeps_images=True,
        ),
        *robustness.measure_attacks(
            classifier.logits_fn,
            held_out.take(max(num_images // min(batch_size, num_images), 1)),
            gradient_sign=classifier.gradient_sign,
            keeps_images=True,
        ),
    ]


def corruption_stream(
    root: str, classifier: classifiers.Classifier, batch_size: int
) -> tuple[tf.data.Dataset, list[tuple[str, int]]]:
    """Return the batches of all corruptions, of our shards, and their parts.

    The images are shown whole: they were cropped before they were corrupted.
    """
    parts = evaluation_sources.corrupted_parts(root)
    stream = eval_stream.make_parts_stream(
        [
            shards.open_split(directory, robustness_sets.SPLIT)
            for directory in parts.values()
        ],
        resolution=classifier.resolution,
        batch_size=batch_size,
        crop="whole",
    )
    return stream, list(parts)


def sequence_readers(
    root: str,
    classifier: classifiers.Classifier,
    *,
    difficulty: int = 1,
    map_label: Callable[[evaluation_sources.Sequences, int], int] | None = None,
) -> Mapping[str, Callable[[], Iterator[tuple[tf.Tensor, int]]]]:
    """Return perturbation -> what reads its sequences at a model's size.

    Args:
        root: See `evaluation_sources.perturbed_parts`.
        classifier: The model.
        difficulty: 1, 2 or 3.
        map_label: The model's class of a label of the sequences; None: the
            same.
    """

    def make(directory: str) -> Callable[[], Iterator[tuple[tf.Tensor, int]]]:
        def read() -> Iterator[tuple[tf.Tensor, int]]:
            opened = evaluation_sources.open_sequences(directory)
            for frames, label in opened.read():
                yield (
                    decode.resize_all(frames, classifier.resolution),
                    map_label(opened, label) if map_label else label,
                )

        return read

    parts = evaluation_sources.perturbed_parts(root, difficulty)
    return {name: make(directory) for name, directory in parts.items()}


def normalize(rows: Rows, *, baseline: str) -> Rows:
    """Return rows with mCE, mFR and mT5D relative to one model's.

    Args:
        rows: Of several models on the same sets.
        baseline: The name of the model that normalizes, at the resolution of
            its first row.
    """
    references: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["model"] == baseline and results.is_robustness(row):
            references.setdefault(row["measure"], row)
    return [
        robustness.normalize(row, references[row["measure"]], baseline)
        if results.is_robustness(row)
        else row
        for row in rows
    ]
