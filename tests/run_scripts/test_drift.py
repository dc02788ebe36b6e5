import datetime
import shutil

import numpy as np
import pytest
from fastapi import testclient

from data_prep import sources
from noisy_student_tf.records import held_out, served_predictions
from noisy_student_tf.serving import answering, app, prediction_log
from run_scripts import drift
from tests.run_scripts import scripts
from tests.serving import small_exports

FINGERPRINT = "0123abcd4567efgh"


@pytest.fixture
def export(small_export, tmp_path):
    """Return an export that held-out images of three classes lie beside."""
    shutil.copytree(small_export.directory, tmp_path / "export/saved_model")
    path = held_out.path(str(tmp_path / "export"), "validation")
    with held_out.open_writer(path, 3) as keep:
        keep(*draw(0))
    return str(tmp_path / "export")


def draw(seed, shift=0.0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(60, 3)) + np.array([shift, 0, 0])
    return logits, np.zeros(60, np.int32), [random.bytes(16) for _ in range(60)]


def write_log(path, shift=0.0, model=FINGERPRINT, day=1):
    """Write what such a model says of other images."""
    logits, _, ids = draw(1, shift)
    found = drift.drift.of_logits(logits)
    rows = [
        served_predictions.Row(
            image_id=each_id,
            time=datetime.datetime(2026, 5, day, tzinfo=datetime.UTC),
            model=model,
            class_index=int(index),
            confidence=float(confidence),
            energy=float(energy),
        )
        for each_id, index, confidence, energy in zip(
            ids, found.classes, found.confidences, found.energies, strict=True
        )
    ]
    served_predictions.write(str(path), rows)


def run(log, export, tmp_path, *arguments):
    scripts.run(
        drift,
        f"--prediction_log={log}",
        f"--export={export}",
        f"--page={tmp_path}/drift.html",
        *arguments,
    )
    return (tmp_path / "drift.html").read_text()


def test_pictures_like_the_held_out_ones_show_nothing(export, tmp_path, capsys):
    write_log(tmp_path / "log")
    page = run(tmp_path / "log", export, tmp_path)
    printed = capsys.readouterr().out
    assert "No change shown: 60 served pictures beside 60" in printed
    assert "No change shown" in page
    assert "left out" not in printed


def test_other_pictures_show_what_has_changed(export, tmp_path, capsys):
    write_log(tmp_path / "log", shift=4.0)
    write_log(tmp_path / "log", shift=4.0)
    write_log(tmp_path / "log", model="another")
    page = run(tmp_path / "log", export, tmp_path)
    printed = capsys.readouterr().out
    assert "Changed, of 60 served pictures: confidence, mean; energy" in printed
    assert "classes, total variation" in printed
    assert "60 of other weights, 60 of pictures that were sent before" in page
    assert small_exports.CLASS_NAMES[0] in page


def test_only_what_was_served_since_a_day_counts(export, tmp_path, capsys):
    write_log(tmp_path / "log", shift=4.0, day=1)
    write_log(tmp_path / "log", day=20)
    run(tmp_path / "log", export, tmp_path, "--since=2026-05-10")
    assert "No change shown" in capsys.readouterr().out
    with pytest.raises(ValueError, match="0 served and 60 held-out"):
        run(
            tmp_path / "log", export, tmp_path, "--since=2026-05-20T12:00+02:00"
        )
    with pytest.raises(ValueError, match="--since=May: accepted are a day"):
        run(tmp_path / "log", export, tmp_path, "--since=May")


def test_a_missing_reference_is_named(small_export, tmp_path):
    write_log(tmp_path / "log")
    with pytest.raises(FileNotFoundError, match="Give --reference"):
        run(tmp_path / "log", small_export.directory, tmp_path)


def test_another_reference_is_taken(small_export, export, tmp_path, capsys):
    write_log(tmp_path / "log")
    reference = held_out.path(export, "validation")
    run(
        tmp_path / "log",
        small_export.directory,
        tmp_path,
        f"--reference={reference}",
    )
    assert "beside 60 held-out ones" in capsys.readouterr().out


def test_what_was_served_becomes_an_unlabeled_source(small_export, tmp_path):
    settings = answering.Settings(
        log=prediction_log.Settings(str(tmp_path / "log"), keep_below=1.0)
    )
    application = app.make_app(small_export.directory, settings)
    pictures = [
        small_exports.encode(image, kind)
        for image, kind in zip(
            small_exports.IMAGES, ("PNG", "JPEG", "GIF"), strict=True
        )
    ]
    with testclient.TestClient(application) as client:
        for picture in pictures:
            assert client.post("/classify", content=picture).status_code == 200
    source = sources.open_source(f"files:{tmp_path}/log/pictures")
    listing = source.list_items()
    assert len(listing.images) == 3
    assert not listing.ignored
    rows = served_predictions.read(str(tmp_path / "log"))
    assert {each.key.partition(".")[0] for each in listing.images} == {
        row.tobytes().hex() for row in rows.ids
    }
