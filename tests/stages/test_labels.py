"""The stages of pseudo-labels on the embedded digits, with untrained nets."""

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from pyarrow import parquet

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import duplicates, predictions, shards
from noisy_student_tf.stages import data, labeler, labels, runs
from run_scripts import inspect_pseudo_labels
from tests import strategies
from tests.run_scripts import scripts


def save_model(directory, *, seed, **changes):
    """Save a net of random weights, and its manifest."""
    model_config = presets.preset("tiny").model
    spec = architectures.make_spec(
        model_config, num_classes=10, class_names=tuple(map(str, range(10)))
    )
    spec = spec.__class__(**{**vars(spec), **changes})
    model = architectures.build(spec, seed=seed)
    files.make_directories(directory)
    saved.save(directory, model=model, ema_model=model, spec=spec)
    shards.write_manifest(directory, {"model": "random"})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run with data, a teacher and a student, and nothing labeled."""
    run = make_run(tmp_path_factory.mktemp("labels") / "base")
    workdirs.write_config(run.config, run.workdir)
    data.build_labeled(run)
    data.build_unlabeled(run)
    save_model(run.workdir.teacher, seed=0)
    save_model(run.workdir.folder("student_1"), seed=1)
    return run


@pytest.fixture(scope="module")
def labeled(base, tmp_path_factory):
    """The same run with the pseudo-labels of student 1."""
    run = again(base, tmp_path_factory.mktemp("labeled"))
    labels.label(run, run.recipe.students[0])
    return run


def make_run(root, strategy=None, **overrides):
    return runs.Run(
        config=config_tree.override(presets.preset("tiny"), overrides),
        workdir=workdirs.Workdir(str(root)),
        strategy=strategy or tf.distribute.get_strategy(),
    )


def again(base, tmp_path, strategy=None, **overrides):
    """Return a run on a copy of the folder, with other settings."""
    root = tmp_path / "run"
    shutil.copytree(base.workdir.root, root)
    return make_run(root, strategy, **overrides)


def read_predictions(run, iteration):
    paths = files.glob(f"{run.workdir.predictions(iteration)}/*.parquet")
    tables = [parquet.read_table(path) for path in paths]
    soft = np.concatenate(
        [np.stack(table["probabilities"].to_numpy()) for table in tables]
    )
    return soft.astype(np.float32)


def selected(run, iteration):
    """{id: copies} of the pseudo-labeled shards."""
    copies = {}
    pattern = f"{run.workdir.pseudo_labeled(iteration)}/*.index.parquet"
    for path in files.glob(pattern):
        for row in parquet.read_table(path).to_pylist():
            copies[row["image_id"]] = row["copies"]
    return copies


def test_two_predictions_are_byte_identical_despite_noise(
    base, labeled, tmp_path
):
    model = base.config.model
    assert model.stochastic_depth_rate > 0
    assert model.dropout_rate != 0
    run = again(base, tmp_path)
    labels.predict(run, run.recipe.labeling(1))
    names = files.list_directory(labeled.workdir.predictions(1))
    assert files.list_directory(run.workdir.predictions(1)) == names
    assert len(names) > 2
    for name in names:
        first, second = (
            files.read_bytes(f"{each.workdir.predictions(1)}/{name}")
            for each in (labeled, run)
        )
        assert first == second


def test_ensemble_flip_and_calibration_make_another_teacher(
    base, labeled, tmp_path, caplog
):
    logging.set_verbosity(logging.INFO)
    run = again(
        base,
        tmp_path,
        **{
            "labeling.ensemble": base.workdir.folder("student_1"),
            "labeling.flip": True,
            "labeling.calibrate": True,
        },
    )
    labels.predict(run, run.recipe.labeling(1))
    assert "held-out (validation) images" in caplog.text
    assert "Calibrated: temperature" in caplog.text
    alone, together = (
        shards.read_manifest(each.workdir.predictions(1))
        for each in (labeled, run)
    )
    teacher = saved.fingerprint(base.workdir.teacher)
    assert alone[predictions.TEACHER] == teacher
    assert together[predictions.TEACHER] != teacher
    measured = files.read_json(
        files.join(run.workdir.predictions(1), labeler.LABELER)
    )
    assert len(measured["made_of"]["models"]) == 2
    fitted = measured["calibration"]
    assert fitted["after"]["loss"] < fitted["before"]["loss"]
    # Another start takes the temperature that is there.
    before = files.read_text(
        files.join(run.workdir.predictions(1), labeler.LABELER)
    )
    assert (
        labeler.make(
            run, base.workdir.teacher, run.workdir.predictions(1)
        ).fingerprint
        == together[predictions.TEACHER]
    )
    assert before == files.read_text(
        files.join(run.workdir.predictions(1), labeler.LABELER)
    )


def test_labels_of_a_teacher_that_was_trained_anew_are_refused(
    labeled, tmp_path
):
    run = again(labeled, tmp_path)
    labels.label(run, run.recipe.students[0])
    save_model(run.workdir.teacher, seed=3)
    with pytest.raises(ValueError, match="it was trained anew"):
        labels.label(run, run.recipe.students[0])
    with pytest.raises(ValueError, match="it was trained anew"):
        labels.predict(run, run.recipe.labeling(1))
    # What was used may be dropped.
    shutil.rmtree(run.workdir.teacher)
    labels.label(run, run.recipe.students[0])


def test_a_selection_of_nothing_is_refused(labeled, tmp_path):
    run = again(labeled, tmp_path, **{"selection.confidence_threshold": 0.999})
    shutil.rmtree(run.workdir.pseudo_labeled(1))
    shutil.rmtree(run.workdir.selection(1))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"threshold=0\.999: none of"):
            labels.label(run, run.recipe.students[0])


def test_teacher_labels_on_two_replicas(base, labeled, tmp_path):
    run = again(base, tmp_path, strategies.mirrored(2))
    labels.predict(run, run.recipe.labeling(1))
    np.testing.assert_allclose(
        read_predictions(labeled, 1), read_predictions(run, 1), atol=2e-3
    )


def test_models_that_do_not_fit_are_refused(base, tmp_path):
    for changes, message in (
        ({"resolution": 32}, "of one resolution"),
        ({"class_names": tuple("abcdefghij")}, "of the same classes"),
    ):
        other = str(tmp_path / message)
        save_model(other, seed=2, **changes)
        run = again(
            base, tmp_path / f"{message} run", **{"labeling.ensemble": other}
        )
        with pytest.raises(ValueError, match=message):
            labels.predict(run, run.recipe.labeling(1))


def test_a_kept_selection_is_relabeled_by_the_next_teacher(
    base, labeled, tmp_path
):
    run = again(
        labeled,
        tmp_path,
        **{
            "self_training.keep_selection": True,
            "self_training.num_iterations": 2,
        },
    )
    labels.label(run, run.recipe.students[1])
    assert selected(run, 2) == selected(run, 1)
    assert not files.exists(run.workdir.selection(2))
    manifest = shards.read_manifest(run.workdir.pseudo_labeled(2))
    teacher = saved.fingerprint(base.workdir.folder("student_1"))
    assert manifest[predictions.TEACHER] == teacher
    assert manifest["selected_by"] == saved.fingerprint(base.workdir.teacher)
    predicted = shards.read_manifest(run.workdir.predictions(2))
    assert predicted["num_images"] == len(selected(run, 1))


def test_another_model_selects_for_the_teacher(base, tmp_path):
    run = again(
        base,
        tmp_path,
        **{
            "self_training.selection_teacher_directory": base.workdir.folder(
                "student_1"
            )
        },
    )
    labels.label(run, run.recipe.students[0])
    assert selected(run, 1) == selected(run, 0)
    manifest = shards.read_manifest(run.workdir.pseudo_labeled(1))
    assert manifest["selected_by"] == saved.fingerprint(
        base.workdir.folder("student_1")
    )
    with pytest.raises(ValueError, match="selection_teacher_directory"):
        again(base, tmp_path / "none").recipe.labeling(0)


def test_every_image_is_on_the_page_and_in_the_table(base, tmp_path, capsys):
    run = again(base, tmp_path, **{"labeling.near_duplicate_bits": 0})
    labels.find_near_duplicates(run)
    # No digit has a perceptual hash; one is declared to be a test image.
    ids = parquet.read_table(
        f"{run.workdir.unlabeled}/{shards.index_name('unlabeled', 0, 2)}"
    )["image_id"].to_pylist()
    test = files.glob(f"{run.workdir.labeled}/test-*.index.parquet")[0]
    kept = parquet.read_table(test)["image_id"].to_pylist()[3]
    duplicates.write(
        f"{run.workdir.duplicates}/{duplicates.file_name(0, 2)}",
        [duplicates.Duplicate(ids[5], kept, "test", 0, 2)],
    )
    labels.label(run, run.recipe.students[0])
    root = run.workdir.root
    scripts.run(
        inspect_pseudo_labels,
        f"--workdir={root}",
        f"--csv={root}/all.csv",
        f"--image_id={ids[0].hex()},{ids[5].hex()}",
    )
    printed = capsys.readouterr().out
    facts, end = json.JSONDecoder().raw_decode(printed)
    assert facts["image_id"] == ids[0].hex()
    assert len(facts["most_probable"]) == 5
    left_out = json.JSONDecoder().raw_decode(printed[end:].lstrip())[0]
    assert left_out["repeats"] == f"test/{kept.hex()}"
    with open(f"{root}/all.csv") as file:
        rows = list(csv.DictReader(file))
    unlabeled = shards.open_split(run.workdir.unlabeled, "unlabeled")
    assert len(rows) == unlabeled.num_records
    assert len({row["image_id"] for row in rows}) == len(rows)
    copies = {
        bytes.fromhex(row["image_id"]): int(row["copies"])
        for row in rows
        if row["fate"] == "selected"
    }
    assert copies == selected(run, 1)
    (near,) = (row for row in rows if row["fate"] == "near_duplicate")
    assert near["image_id"] == ids[5].hex()
    assert ids[5] not in selected(run, 1)
    page = files.read_text(f"{root}/pseudo_labels_1.html")
    for text in ("Left out, and why", "<b>test</b>, 2 bits", ids[0].hex()):
        assert text in page


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--image_id=12", "accepted are 32 hexadecimal digits"),
        (f"--image_id={'0' * 32}", "no unlabeled image"),
        ("--classes=owl", "there is no class owl"),
    ],
)
def test_what_is_not_there_is_named(labeled, flag, message):
    root = f"--workdir={labeled.workdir.root}"
    with pytest.raises(ValueError, match=message):
        scripts.run(inspect_pseudo_labels, root, flag)
