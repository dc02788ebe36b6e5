import csv
import re

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from noisy_student_tf.model import saved
from noisy_student_tf.stages import export
from run_scripts import classify, serve
from tests.run_scripts import scripts
from tests.serving import small_exports
from tests.weights import golden


def run(*arguments):
    """Run the script with flags and pictures."""
    with scripts.parsed_flags(classify.define_flags):
        classify.main(flags.FLAGS(["script", *arguments]))


def test_a_table_is_printed_and_a_csv_written(small_export, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for name, image in zip("ab", small_exports.IMAGES, strict=False):
        path = tmp_path / "photos" / f"{name}.png"
        path.write_bytes(small_exports.encode(image))
    (tmp_path / "c.png").write_bytes(b"no picture")
    table = tmp_path / "classes.csv"
    run(
        f"--export={small_export.directory}",
        f"--csv={table}",
        str(tmp_path / "photos"),
        str(tmp_path / "c.png"),
    )
    printed = capsys.readouterr()
    with table.open() as file:
        rows = list(csv.DictReader(file))
    expected = small_exports.probabilities(
        small_export.model, small_exports.IMAGES[:2]
    )
    assert [row["valid"] for row in rows] == ["true", "true", "false"]
    for row, probabilities in zip(rows, expected, strict=False):
        best = probabilities.argmax()
        assert row["class"] == str(best)
        assert row["class_name"] == small_exports.CLASS_NAMES[best]
        assert float(row["probability"]) == pytest.approx(
            probabilities[best],
            abs=small_exports.tolerance(small_export.model),
        )
        assert row["path"] in printed.out
    assert rows[2]["path"].endswith("c.png")
    assert rows[2]["class"] == "-1"
    assert "not a picture" in printed.out
    assert "3 pictures" in printed.out
    assert "1 could not be decoded" in printed.err


def test_installed_weights_name_the_cat(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photographs = np.load(golden.FOLDER / "efficientnet_lite0_photographs.npz")
    for name, image in zip(
        photographs["names"], photographs["images"], strict=True
    ):
        path = tmp_path / f"{name}.png"
        path.write_bytes(small_exports.encode(image))
    run(
        "--model=efficientnet-lite0",
        f"--csv={tmp_path / 'classes.csv'}",
        str(tmp_path / "chelsea_cat.png"),
        str(tmp_path / "coffee.png"),
    )
    printed = capsys.readouterr().out.splitlines()
    cat, coffee = (
        next(line for line in printed if f"{name}.png" in line)
        for name in ("chelsea_cat", "coffee")
    )
    assert re.search(r"  (tiger cat|tabby|Egyptian cat)  ", cat)
    assert "  espresso  " in coffee


def test_a_models_directory_is_classified_as_it_would_be_served(
    small_export, tmp_path
):
    model = small_export.model
    directory = str(tmp_path / "model")
    saved.save(directory, model=model, ema_model=model, spec=model.spec)
    picture, table = tmp_path / "a.png", tmp_path / "classes.csv"
    picture.write_bytes(small_exports.encode(small_exports.IMAGES[0]))
    run(f"--model={directory}", f"--csv={table}", str(picture))
    with table.open() as file:
        (row,) = csv.DictReader(file)
    image = export.make_preprocess(model.spec)(picture.read_bytes())
    expected = tf.nn.softmax(model(image[np.newaxis]))[0].numpy()
    assert row["class"] == str(expected.argmax())
    assert row["class_name"] == model.spec.class_names[expected.argmax()]
    assert float(row["probability"]) == pytest.approx(
        expected.max(), abs=small_exports.tolerance(model)
    )


def test_an_export_and_a_model_are_one_too_many():
    with pytest.raises(ValueError, match="give one of them"):
        run("--export=a", "--model=b", "c.png")


@pytest.mark.parametrize("script", [classify, serve])
def test_a_missing_export_flag_is_named(script):
    with pytest.raises(ValueError, match=r"--export is missing: give one"):
        scripts.run(script)


def test_no_pictures_are_named(small_export):
    with pytest.raises(ValueError, match="no pictures were given"):
        run(f"--export={small_export.directory}")


def test_a_missing_web_framework_is_named(monkeypatch):
    packages = {"a_missing_framework": "a-missing-framework"}
    monkeypatch.setattr(serve, "_PACKAGES", packages)
    with pytest.raises(ImportError, match=r"'\.\[serving\]'"):
        scripts.run(serve, "--export=somewhere")
