"""The stages that make pseudo-labels: duplicates, predict, select, write.

An iteration's images are selected by its own teacher's predictions, unless an
earlier selection is kept: then the teacher only labels those images.
"""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import logging

from data_prep import find_duplicates
from data_prep import write_pseudo_labeled as pseudo_labeled_writer
from data_prep.shards import beam_shards
from noisy_student_tf import files, recipes, terminal
from noisy_student_tf.devices import pod, replicas, runtime
from noisy_student_tf.model import saved
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.pseudo_labels import given_images, plausibility, summary
from noisy_student_tf.pseudo_labels import predict as predictor
from noisy_student_tf.pseudo_labels import select as selector
from noisy_student_tf.records import duplicates, shards
from noisy_student_tf.stages import labeler, runs, standings


def label(run: runs.Run, student: recipes.Model) -> None:
    """Make the pseudo-labels of one student.

    Pseudo-labeled shards that are there, own or the authors', are taken. Of
    several workers each labels its share of the shards; the chief does the
    rest.

    Raises:
        ValueError: Labels that are there are of another teacher, or this one
            has learned nothing.
    """
    wanted = student.pseudo_labeled
    if shards.is_finished(run.workdir.folder(wanted)):
        for labeling in student.labelings:
            _check_teacher(run, labeling)
        logging.info("%s: finished already.", wanted)
        return
    for labeling in student.labelings:
        _predict_together(run, labeling)
        runs.on_chief(run, functools.partial(_select_and_write, run, labeling))


def _predict_together(run: runs.Run, labeling: recipes.Labeling) -> None:
    """Let each worker label its share of the shards, and the chief close."""
    directory = run.workdir.folder(labeling.predictions)
    if _is_predicted(run, labeling):
        return
    # All workers make the teacher's variables together, and once.
    label_shards = _label_shards(run, labeling)
    num_workers = runtime.num_workers(run.strategy)
    if num_workers > 1:
        label_shards(
            shard_index=runtime.worker_index(run.strategy),
            num_shard_workers=num_workers,
            closes=False,
        )
        runtime.wait_for_all(run.strategy)

    def label_the_rest_and_close() -> None:
        label_shards()
        _warn_of_class_mix(run, directory)

    runs.on_chief(run, label_the_rest_and_close)


def _is_predicted(run: runs.Run, labeling: recipes.Labeling) -> bool:
    """Tell whether predictions are finished, and are the teacher's."""
    directory = run.workdir.folder(labeling.predictions)
    title = f"Predictions for student {labeling.iteration}"
    if not runs.is_done(directory, title):
        return False
    _check_teacher(run, labeling)
    return True


def _check_teacher(run: runs.Run, labeling: recipes.Labeling) -> None:
    """Refuse labels of a teacher that was trained anew since.

    A teacher or labels that are not there are not compared: a run may drop
    what it has used.
    """
    teacher = labeling.teacher
    teacher_directory = runs.directory(run, teacher)
    directory = run.workdir.folder(labeling.predictions)
    found = labeler.teacher_of(directory)
    if not found or not shards.is_finished(teacher_directory):
        return
    if isinstance(teacher, recipes.Model) and teacher.predictions_from:
        present = shards.read_manifest(teacher_directory)["fingerprint"]
    else:
        present = saved.fingerprint(teacher_directory)
    if found != present:
        raise ValueError(
            f"{directory} was made by a teacher of fingerprint {found}, but "
            f"{teacher_directory} is {present} now: it was trained anew. "
            f"Remove {directory} and what was made of it (selection, "
            "pseudo-labeled shards, students), or restore the teacher."
        )


def _select_and_write(run: runs.Run, labeling: recipes.Labeling) -> None:
    select(run, labeling)
    write_pseudo_labeled(run, labeling)


def find_near_duplicates(run: runs.Run) -> None:
    """Find the unlabeled images that are labeled or held out, too."""
    directory = run.workdir.duplicates
    if run.recipe.finds_duplicates and not runs.is_done(
        directory, "Duplicates"
    ):
        find_duplicates.find(
            unlabeled_directory=run.workdir.unlabeled,
            labeled_directory=run.workdir.labeled,
            directory=directory,
            labeling=run.config.labeling,
            beam=beam_shards.Beam.of(run.config.data),
        )


def predict(
    run: runs.Run,
    labeling: recipes.Labeling,
    *,
    shard_index: int = 0,
    num_shard_workers: int = 1,
) -> None:
    """Let a teacher label images.

    They are clean, and so is the teacher, but for the ablation.

    Raises:
        ValueError: Predictions that are there are of another teacher, or this
            one has learned nothing.
    """
    directory = run.workdir.folder(labeling.predictions)
    if _is_predicted(run, labeling):
        return
    _label_shards(run, labeling)(
        shard_index=shard_index, num_shard_workers=num_shard_workers
    )
    if shards.is_finished(directory):
        _warn_of_class_mix(run, directory)


def _label_shards(
    run: runs.Run, labeling: recipes.Labeling
) -> Callable[..., None]:
    """Return `predictor.predict` of a labeling, to be told the share.

    Raises:
        ValueError: See `standings.check_teacher`.
    """
    teacher = labeling.teacher
    teacher_directory = runs.directory(run, teacher)
    shards.read_manifest(teacher_directory)
    if isinstance(teacher, recipes.Model):
        standings.check_teacher(run, teacher)
        if teacher.predictions_from:
            return _label_by_table(run, labeling, teacher)
    directory = run.workdir.folder(labeling.predictions)
    folder, split = labeling.images
    images = shards.open_split(run.workdir.folder(folder), split)
    name = "selection teacher"
    if isinstance(teacher, recipes.Model):
        name = teacher.name
    with terminal.working(f"preparing {name} labels"):
        made = labeler.make(run, teacher_directory, directory)
    task = predictor.Request(
        labels_of=predictor.of_network(
            made.predict_fn,
            functools.partial(_stream, run, made, images),
            num_classes=made.spec.num_classes,
        ),
        unlabeled=images,
        unlabeled_fingerprint=shards.manifest_fingerprint(
            run.workdir.folder(folder)
        ),
        directory=directory,
        num_classes=made.spec.num_classes,
        teacher_fingerprint=made.fingerprint,
        left_out=_left_out(run, labeling, len(images.paths)),
        title=f"{name} labels",
    )
    return functools.partial(predictor.predict, task)


def _label_by_table(
    run: runs.Run, labeling: recipes.Labeling, teacher: recipes.Model
) -> Callable[..., None]:
    """Return `predictor.predict` of given probabilities.

    Images without a row get no label.

    Raises:
        ValueError: The table is another one than was measured.
    """
    table = labeler.read_predictions(run, teacher)
    taken = shards.read_manifest(runs.directory(run, teacher))["fingerprint"]
    if table.fingerprint != taken:
        raise ValueError(
            f"{table.source}: the file has changed since this run took it. "
            f"Restore it, or remove {runs.directory(run, teacher)} and what "
            "was made of it (predictions, selection, students)."
        )
    directory = run.workdir.folder(labeling.predictions)
    files.make_directories(directory)
    labeler.keep_given(run, directory, teacher)
    images = shards.open_split(run.workdir.unlabeled, "unlabeled")
    indexes = shards.index_paths(run.workdir.unlabeled, "unlabeled")
    duplicated = _left_out(run, labeling, len(images.paths))
    task = predictor.Request(
        labels_of=given_images.labels_of(
            table, dict(zip(images.paths, indexes, strict=True))
        ),
        unlabeled=images,
        unlabeled_fingerprint=shards.manifest_fingerprint(
            run.workdir.unlabeled
        ),
        directory=directory,
        num_classes=len(runs.class_names(run)),
        teacher_fingerprint=table.fingerprint,
        left_out=functools.cache(
            lambda index: (
                duplicated(index) | given_images.missing(table, indexes[index])
            )
        ),
        title=f"{teacher.name} labels",
    )
    return functools.partial(predictor.predict, task)


def _left_out(
    run: runs.Run, labeling: recipes.Labeling, num_shards: int
) -> Callable[[int], frozenset[bytes]]:
    """Return a shard's number -> the ids of its images that get no label."""
    if not labeling.leaves_out_duplicates:
        return lambda index: frozenset()
    found = run.workdir.duplicates
    shards.read_manifest(found)
    return lambda index: duplicates.left_out(found, index, num_shards)


def _stream(
    run: runs.Run,
    made: labeler.Labeler,
    shard_set: shards.ShardSet,
    paths: Sequence[str],
) -> tf.data.Dataset:
    make_part = functools.partial(
        eval_stream.make_shards_stream,
        paths,
        resolution=made.spec.resolution,
        batch_size=predictor.batch_size(
            shard_set,
            largest=run.config.training.evaluation_batch_size,
            num_replicas=replicas.num_local(run.strategy),
        ),
        crop=runs.test_crop(made.spec),
    )
    hosts = runtime.other_hosts(run.strategy)
    return pod.made_on(hosts, make_part) if hosts else make_part()


def _warn_of_class_mix(run: runs.Run, directory: str) -> None:
    labeled = shards.read_manifest(run.workdir.labeled)
    for warning in plausibility.class_mix_warnings(
        shards.read_manifest(directory)["counts_per_class"],
        labeled["counts_per_class"]["train"],
        labeled["class_names"],
    ):
        logging.warning("%s", warning)


def select(run: runs.Run, labeling: recipes.Labeling) -> None:
    """Filter and balance the predictions, unless a selection is kept."""
    if labeling.kept_from:
        logging.info("The %s is kept.", labeling.kept_from.selection)
        return
    directory = run.workdir.folder(labeling.selection)
    if not runs.is_done(
        directory, f"Selection for student {labeling.iteration}"
    ):
        class_names = runs.class_names(run)
        selector.select(
            predictions_directory=run.workdir.folder(labeling.predictions),
            directory=directory,
            selection=run.config.selection,
            num_classes=len(class_names),
            seed=run.config.seed,
            class_names=class_names,
            map_reduce=functools.partial(
                beam_shards.map_reduce,
                directory=directory,
                beam=beam_shards.Beam.of(run.config.data),
            ),
        )


def write_pseudo_labeled(run: runs.Run, labeling: recipes.Labeling) -> None:
    """Write the student's pseudo-labeled shards.

    Raises:
        ValueError: No image was selected.
    """
    directory = run.workdir.folder(labeling.pseudo_labeled)
    if runs.is_done(directory, f"Pseudo-labeled shards {labeling.iteration}"):
        return
    images, selection = run.workdir.unlabeled, ""
    if labeling.kept_from:
        images = run.workdir.folder(labeling.kept_from.pseudo_labeled)
    else:
        selection = run.workdir.folder(labeling.selection)
        _check_selection(run, selection)
    pseudo_labeled_writer.write(
        images_directory=images,
        predictions_directory=run.workdir.folder(labeling.predictions),
        selection_directory=selection,
        directory=directory,
        iteration=labeling.iteration,
        beam=beam_shards.Beam.of(run.config.data),
    )


def _check_selection(run: runs.Run, directory: str) -> None:
    selected = summary.read(directory)
    if not selected.total("num_selected"):
        raise ValueError(
            f"--selection.confidence_threshold={selected.confidence_threshold}"
            f": none of {selected.total('num_images')} images is as sure; the "
            "student would have nothing to learn from. Take a lower one, or a "
            "better teacher: `run_scripts.inspect_pseudo_labels` shows the "
            "confidences. In another --workdir, "
            f"--self_training.teacher_directory={run.workdir.teacher} goes on "
            "with the teacher that is trained."
        )
