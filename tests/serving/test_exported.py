import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.serving import exported
from tests.serving import small_exports


@pytest.fixture
def copy(small_export, tmp_path):
    """Return a copy of the export, to be damaged."""
    path = tmp_path / "saved_model"
    shutil.copytree(small_export.directory, path)
    return path


def test_pictures_are_classified_in_their_order(small_export):
    pictures = [small_exports.encode(image) for image in small_exports.IMAGES]
    pictures.insert(1, b"no picture")
    opened = exported.open_export(small_export.directory)
    found = list(exported.classify(opened, pictures, batch_size=3))
    expected = small_exports.probabilities(
        small_export.model, small_exports.IMAGES
    )
    assert [p.is_valid for p in found] == [True, False, True, True]
    assert found[1].class_index == -1
    assert found[1].class_name == ""
    assert found[1].confidence == 0
    assert found[1].energy == 0
    valid = [prediction for prediction in found if prediction.is_valid]
    np.testing.assert_allclose(
        [p.probabilities for p in valid],
        expected,
        atol=small_exports.tolerance(small_export.model),
    )
    best = expected.argmax(-1)
    assert [p.class_index for p in valid] == best.tolist()
    assert [p.class_name for p in valid] == [
        small_exports.CLASS_NAMES[i] for i in best
    ]


@pytest.mark.parametrize("place", ["", "saved_model", "export/saved_model"])
def test_a_run_s_folders_lead_to_the_saved_model(place, tmp_path):
    directory = tmp_path / place
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "saved_model.pb").touch()
    assert pathlib.Path(exported.find(str(tmp_path))) == directory


def test_a_missing_export_is_named_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run_scripts\.export") as e:
        exported.open_export(str(tmp_path / "nowhere"))
    assert "nowhere: no SavedModel here" in str(e.value)


@pytest.mark.parametrize("version", [None, 1, 2, 3, 5])
def test_an_export_of_another_version_is_refused(copy, version):
    path = copy / "assets" / "model.json"
    model = json.loads(path.read_text())
    del model["export_version"]
    if version:
        model["export_version"] = version
    path.write_text(json.dumps(model))
    with pytest.raises(
        ValueError, match=f"export_version={version or 1}; accepted is 4"
    ):
        exported.open_export(str(copy))


def test_a_saved_model_of_others_is_refused(copy):
    (copy / "assets" / "model.json").unlink()
    with pytest.raises(ValueError, match="not of this project"):
        exported.open_export(str(copy))


def test_a_missing_signature_is_named(copy, monkeypatch):
    loaded = tf.Module()
    loaded.signatures = {"images": None}
    monkeypatch.setattr(tf.saved_model, "load", lambda directory: loaded)
    with pytest.raises(ValueError, match="no signature 'serving_default'"):
        exported.open_export(str(copy))


def test_pictures_are_listed_from_files_and_folders(tmp_path):
    for name in ("b/2.PNG", "b/c/1.jpeg", "b/notes.txt", "a.unusual"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = exported.list_pictures(
        [str(tmp_path / "b"), str(tmp_path / "a.unusual")]
    )
    names = [str(pathlib.Path(path).relative_to(tmp_path)) for path in found]
    assert names == ["b/2.PNG", "b/c/1.jpeg", "a.unusual"]


def test_what_systems_leave_is_not_classified(tmp_path, caplog):
    for name in ("a.png", "._a.png", "@eaDir/a.png", "__MACOSX/a.png", "b.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "again").symlink_to(".")
    assert exported.list_pictures([str(tmp_path)]) == [str(tmp_path / "a.png")]
    assert "1 .txt" in caplog.text


def test_class_names_are_lines_and_nothing_else(copy):
    path = copy / "assets" / "class_names.txt"
    names = path.read_text().splitlines()
    path.write_text("".join(f"{name}\u2028x\n" for name in names))
    opened = exported.open_export(str(copy))
    assert opened.class_names == tuple(f"{name}\u2028x" for name in names)


def test_what_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(ValueError, match="no pictures were given"):
        exported.list_pictures([])
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such"):
        exported.list_pictures([str(tmp_path / "nowhere")])
    with pytest.raises(ValueError, match=r"accepted are names that end in \.j"):
        exported.list_pictures([str(tmp_path)])
