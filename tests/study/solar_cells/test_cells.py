import os

import pytest

from data_prep.sources import csv_lists
from noisy_student_tf import files
from study.solar_cells import cells

LINES = (
    "images/cell0001.png  1.0                 mono",
    "images/cell0002.png  0.6666666666666666  poly",
    "images/cell0003.png  0.3333333333333333  mono",
    "images/cell0004.png  0.0                 poly",
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as pip leaves it, with four photographs; its data folder."""
    site = tmp_path / "site"
    data = site / "elpv_dataset" / "data"
    (data / "images").mkdir(parents=True)
    (data / "labels.csv").write_text("\n".join(LINES) + "\n")
    for number in range(1, 5):
        (data / "images" / f"cell000{number}.png").write_bytes(b"pixels")
    # Importing it would be seen.
    (site / "elpv_dataset" / "__init__.py").write_text("raise SystemExit")
    information = site / "elpv_dataset-1.0.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: elpv-dataset\nVersion: 1.0.0\n"
    )
    monkeypatch.syspath_prepend(str(site))
    return data


def test_cells_are_defective_above_one_half(installed, tmp_path):
    path = cells.write(str(tmp_path / "out"))
    assert files.read_text(path).splitlines() == [
        "path,label",
        "images/cell0001.png,defective",
        "images/cell0002.png,defective",
        "images/cell0003.png,functional",
        "images/cell0004.png,functional",
    ]


def test_the_list_is_a_source_whose_ids_depend_on_no_machine(
    installed, tmp_path
):
    listed = []
    for name in ("here", "there"):
        source = csv_lists.open_csv(cells.write(str(tmp_path / name)))
        items = source.list_items().images
        assert source.class_names == ("defective", "functional")
        assert all(os.path.exists(item.locator) for item in items)
        listed.append([(item.image_id, item.label) for item in items])
    assert listed[0] == listed[1]


def test_a_second_call_writes_the_same_anew(installed, tmp_path):
    directory = str(tmp_path / "out")
    first = files.read_text(cells.write(directory))
    assert files.read_text(cells.write(directory)) == first
    assert sorted(os.listdir(directory)) == ["cells.csv", "images"]


def test_without_the_package_one_command_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(cells, "DISTRIBUTION", "no-such-elpv-dataset")
    with pytest.raises(
        FileNotFoundError, match="Run pip install no-such-elpv-dataset"
    ):
        cells.write(str(tmp_path))


def test_a_package_without_its_list_is_to_be_installed_again(
    installed, tmp_path
):
    (installed / "labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no labels.csv.*--force-re"):
        cells.write(str(tmp_path / "out"))


@pytest.mark.parametrize("line", ["images/a.png 1.0", "images/a.png x mono"])
def test_a_line_of_another_form_is_named(installed, tmp_path, line):
    (installed / "labels.csv").write_text(f"{LINES[0]}\n{line}\n")
    with pytest.raises(ValueError, match=f"line 2 is '{line}'"):
        cells.write(str(tmp_path / "out"))
