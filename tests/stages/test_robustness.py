"""Robustness of the models of a run, which are as yet untrained here."""

import dataclasses
import os
import pathlib

import pytest
import tensorflow as tf

from noisy_student_tf import files, self_training, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.evaluation import results
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import robustness_sets, shards
from noisy_student_tf.report.robustness import robustness_tables
from noisy_student_tf.stages import classifiers, data, robustness, runs


def write_model(run, directory, resolution, name):
    spec = architectures.make_spec(
        run.config.teacher_model,
        num_classes=10,
        class_names=tuple(runs.class_names(run)),
    )
    spec = dataclasses.replace(spec, resolution=resolution)
    model = architectures.build(spec, seed=len(name))
    saved.save(directory, model=model, ema_model=model, spec=spec)
    row = {
        "model": name,
        "set": "tiny",
        "split": "test",
        "resolution": resolution,
        "weights": "ema",
        "num_images": 10,
        "accuracy": 0.5,
        "interval_95": [0.4, 0.6],
        "top5_accuracy": 0.9,
        "loss": 1.0,
        "calibration_error": 0.1,
    }
    shards.write_manifest(
        directory, {"model": name, "resolution": resolution, "results": [row]}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = config_tree.override(
        presets.preset("tiny"),
        {
            "self_training.num_iterations": 0,
            "fixres.resolution": 24,
            "evaluation.robustness": True,
        },
    )
    root = tmp_path_factory.mktemp("run") / "tiny"
    run = runs.Run(
        config=config,
        workdir=workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )
    workdirs.write_config(config, run.workdir)
    data.build_labeled(run)
    write_model(run, run.workdir.teacher, 16, "teacher")
    write_model(run, run.workdir.folder("fixres"), 24, "teacher_fixres")
    load = classifiers.load

    def load_teacher_alone(path, **options):
        """Stand in for other models: tracing gradients takes seconds."""
        if path == run.workdir.teacher:
            return load(path, **options)
        return classifiers.Classifier(
            name=options["name"],
            architecture="efficientnet-b0",
            logits_fn=lambda images: tf.tile(
                tf.reduce_mean(images, (1, 2)), [1, 4]
            )[:, :10],
            num_classes=10,
            class_names=(),
            resolution=options["resolution"],
            crop="whole",
            weights="ema",
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "load", load_teacher_alone)
        robustness.measure(run)
    return run


@pytest.fixture(scope="module")
def rows(run):
    return shards.read_manifest(run.workdir.robustness)["results"]


def test_every_model_is_measured_fixres_at_both_resolutions(rows):
    measured = {(row["model"], row["resolution"]) for row in rows}
    assert measured == {
        ("teacher", 16),
        ("teacher_fixres", 24),
        ("teacher_fixres", 16),
    }
    kinds = [
        (row["measure"], row.get("epsilon_pixels"))
        for row in rows
        if row["model"] == "teacher"
    ]
    assert kinds == [
        ("corruptions", None),
        ("perturbations", None),
        ("fgsm", 0.0),
        ("fgsm", 2.0),
        ("fgsm", 4.0),
        ("fgsm", 8.0),
        ("fgsm", 16.0),
        ("pgd", 16.0),
    ]


def test_the_teacher_normalizes(rows):
    corrupted = robustness_tables.of_measure(rows, "corruptions")
    assert corrupted[0]["mce"] == pytest.approx(100)
    assert {row["normalized_by"] for row in corrupted} == {"teacher"}
    # 2 images, 15 corruptions, 5 severities.
    assert corrupted[0]["num_images"] == 150


def test_outcomes_of_images_are_kept_beside_the_rows_and_not_in_them(run, rows):
    kept = files.read_json(
        files.join(run.workdir.robustness, "teacher-16.json")
    )["rows"]
    (corrupted,) = robustness_tables.of_measure(kept, "corruptions")
    num_wrong = sum(
        int(digit) for each in corrupted["by_image"].values() for digit in each
    )
    assert len(corrupted["by_image"]) == 2
    assert num_wrong == round(150 * (1 - corrupted["accuracy"]))
    (sequences,) = robustness_tables.of_measure(kept, "perturbations")
    assert sequences["by_sequence"]["tilt"] == [
        sequences["flip_probabilities"]["tilt"]
    ]
    for row in rows:
        assert not {"by_image", "by_sequence"} & set(row)
    # Two images and one sequence tell nothing apart.
    assert {row["num_compared"] for row in rows} == {1, 2}
    assert all(row["not_told_from"] for row in rows)


def test_a_repeated_stage_changes_nothing(run):
    paths = sorted(pathlib.Path(run.workdir.robustness).rglob("*.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    robustness.measure(run)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_measured_models_are_not_measured_again(run, monkeypatch):
    manifest = files.join(run.workdir.robustness, shards.MANIFEST)
    kept = files.read_bytes(manifest)
    os.remove(manifest)
    monkeypatch.setattr(robustness, "_measure_all", None)
    robustness.measure(run)
    assert files.read_bytes(manifest) == kept


def test_results_and_report_show_robustness(run):
    rows = self_training.write_results(run)
    assert len(rows) == 2 + 24
    page = files.read_text(files.join(run.workdir.root, "report.html"))
    for text in (
        "mCE",
        "Perturbed sequences",
        "FGSM 16",
        "PGD 16",
        "2 images are too few to tell any of these models apart",
    ):
        assert text in page
    assert page.count('alt="frost, severity') == 6
    # The table of accuracies leaves them out.
    assert len(results.format_table(rows).splitlines()) == 4
    text = robustness_tables.format_tables(rows)
    assert "mCE" in text
    assert "no attack %" in text


def test_sequences_are_strips_of_labeled_frames(run):
    part = files.join(run.workdir.robustness_sets, "perturbed", "translate")
    split = shards.open_split(part, robustness_sets.SPLIT)
    (record,) = shards.read_records(split.paths[0])
    frames, label = robustness_sets.decode_sequence(record)
    assert frames.shape == (16, 16, 16, 3)
    assert 0 <= label < 10
    with pytest.raises(ValueError, match="no sequence"):
        robustness_sets.decode_sequence(b"")
