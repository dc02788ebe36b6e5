import os
import shutil

import pytest

from noisy_student_tf.records import served_predictions
from noisy_student_tf.serving import exported, prediction_log, reloading
from tests.serving import small_exports

PICTURE = small_exports.encode(small_exports.IMAGES[0])


@pytest.fixture
def place(small_export, tmp_path):
    """Return a directory with an export of its own."""
    directory = str(tmp_path / "export")
    shutil.copytree(small_export.directory, directory)
    return directory


def name_of(models):
    ((prediction, class_names),) = models.classify([PICTURE])
    assert prediction.class_name in class_names
    return prediction.class_name


def rename_classes(directory):
    """Write an export whose classes have other names."""
    names = f"{directory}/assets/class_names.txt"
    with open(names) as file:
        text = file.read()
    with open(names, "w") as file:
        file.write(text.upper())


def test_a_newer_export_takes_over(place, tmp_path):
    reloads = []
    models = reloading.Models(place, count_reload=reloads.append)
    before = models.current
    assert not models.look()
    newer = str(tmp_path / "newer")
    shutil.copytree(place, newer)
    rename_classes(newer)
    os.rename(place, f"{place}.old")
    # For a moment there is none: the earlier one goes on.
    assert not models.look()
    assert models.current is before
    os.rename(newer, place)
    assert models.look()
    assert models.current.class_names == ("CAT", "DOG", "ELK")
    assert not models.look()
    assert reloads == [True]


def test_what_is_written_beside_it_later_is_taken(place, tmp_path):
    models = reloading.Models(place, runtime="auto")
    before = models.current
    assert not models.look()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "manifest.json").write_text('{"fingerprint": ""}')
    assert models.look()
    assert models.current is not before
    # Nothing that could answer: it is of other weights.
    assert models.current.runtime.name == "saved_model"


def test_what_is_classified_is_logged(place, tmp_path):
    settings = prediction_log.Settings(str(tmp_path / "log"))
    log = prediction_log.PredictionLog(settings)
    models = reloading.Models(place, log=log)
    (answer,) = models.classify([PICTURE])
    log.write()
    rows = served_predictions.read(settings.directory)
    assert rows.classes.tolist() == [answer.prediction.class_index]
    assert rows.models.tolist() == ["0123abcd4567efgh"]


def test_a_half_copied_export_is_taken_when_it_is_whole(place, caplog):
    reloads = []
    models = reloading.Models(place, count_reload=reloads.append)
    name, before = name_of(models), models.current
    os.rename(f"{place}/variables", f"{place}/elsewhere")
    os.mkdir(f"{place}/variables")
    shutil.copy(f"{place}/elsewhere/variables.index", f"{place}/variables")
    for _ in range(2):
        assert not models.look()
        assert models.current is before
        assert name_of(models) == name
    assert reloads == [False]
    assert caplog.text.count("is not taken") == 1
    shutil.rmtree(f"{place}/variables")
    os.rename(f"{place}/elsewhere", f"{place}/variables")
    os.utime(f"{place}/saved_model.pb")
    assert models.look()
    assert models.current is not before


def test_a_model_for_which_there_is_no_memory_is_not_taken(
    place, monkeypatch, caplog
):
    models = reloading.Models(place)
    before = models.current
    os.utime(f"{place}/saved_model.pb")

    def fail(*_, **__):
        raise MemoryError("not enough")

    monkeypatch.setattr(exported, "open_export", fail)
    assert not models.look()
    assert models.current is before
    assert "not enough" in caplog.text


def test_an_export_of_another_version_is_not_taken(place):
    models = reloading.Models(place)
    path = f"{place}/assets/model.json"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('"export_version": 4', '"export_version": 2'))
    assert not models.look()
    with pytest.raises(ValueError, match="export_version=2"):
        reloading.Models(place)
