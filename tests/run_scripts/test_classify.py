import csv

import pytest
from absl import flags

from run_scripts import classify, serve
from tests.run_scripts import scripts
from tests.serving import small_exports


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


@pytest.mark.parametrize("script", [classify, serve])
def test_a_missing_export_flag_is_named(script):
    with pytest.raises(ValueError, match=r"--export is missing: give one"):
        scripts.run(script)


def test_no_pictures_are_named(small_export):
    with pytest.raises(ValueError, match="no pictures were given"):
        run(f"--export={small_export.directory}")


def test_a_missing_web_framework_is_named(monkeypatch):
    monkeypatch.setattr(serve, "_PACKAGES", ("a_missing_framework",))
    with pytest.raises(ImportError, match=r"'\.\[serving\]'"):
        scripts.run(serve, "--export=somewhere")
