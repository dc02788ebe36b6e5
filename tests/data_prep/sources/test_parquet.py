import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import sources
from tests.data_prep import small_pictures

# As `datasets` writes it beside the schema.
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["owl", "cat"], "_type": "ClassLabel"},
}


def read_all(source) -> dict[str, tuple[int | None, bytes]]:
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        # Backward, since reading may be at random.
        return {item.key: (item.label, read(item)) for item in listed[::-1]}


def write_hugging_face(path, pictures, labels, **options):
    images = [{"bytes": picture, "path": None} for picture in pictures]
    table = pa.table({"image": images, "label": labels})
    info = json.dumps({"info": {"features": FEATURES}})
    table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, **options)


def test_structs_of_hugging_face_are_images_of_named_classes(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    pictures = [bytes([number]) * 3 for number in range(40)]
    labels = [number % 2 for number in range(40)]
    write_hugging_face(path, pictures, labels, row_group_size=25)
    source = sources.open_source(f"parquet:{path}")
    assert source.class_names == ("owl", "cat")
    assert read_all(source) == {
        f"{path.name}/{number}": (number % 2, pictures[number])
        for number in range(40)
    }


def test_files_of_a_folder_belong_to_their_splits(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        name = f"data/{split}-00000-of-00001-0a1b2c.parquet"
        write_hugging_face(tmp_path / name, [b"a", b"b", b"c"], [0, 1, -1])
    source = sources.open_source(f"parquet:{tmp_path}")
    listing = source.list_items()
    assert [(i.split, i.label) for i in listing.images] == [
        ("test", 0),
        ("test", 1),
        ("unlabeled", None),
        ("train", 0),
        ("train", 1),
        ("unlabeled", None),
    ]


def test_bytes_and_texts_are_read(tmp_path):
    table = pa.table({"id": [1, 2], "img": [b"a", b"b"], "class": ["x", "y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = sources.open_source(f"parquet:{tmp_path}/a.parquet")
    assert source.class_names == ("x", "y")
    assert read_all(source) == {
        "a.parquet/0": (0, b"a"),
        "a.parquet/1": (1, b"b"),
    }
    without = sources.open_source(f"parquet:{tmp_path}/a.parquet#label=")
    assert without.class_names == ()
    chosen = sources.open_source(f"parquet:{tmp_path}/a.parquet#label=id")
    assert chosen.class_names == ("1", "2")


def test_paths_are_relative_to_their_file(tmp_path):
    small_pictures.write(f"{tmp_path}/pictures/a.png", b"a")
    table = pa.table({"file_name": ["pictures/a.png", "b.png"]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = sources.open_source(f"parquet:{tmp_path}/*.parquet")
    first, second = source.list_items().images
    assert source.class_names == ()
    with source.reader((first, second)) as read:
        assert read(first) == b"a"
        with pytest.raises(FileNotFoundError):
            read(second)


def test_rows_without_a_picture_are_missing(tmp_path):
    table = pa.table({"image": [b"a", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = sources.open_source(f"parquet:{tmp_path}/a.parquet")
    listed = tuple(source.list_items().images)
    with source.reader(listed) as read:
        with pytest.raises(FileNotFoundError, match="the row has no picture"):
            read(listed[1])


def test_images_are_listed_by_file_with_the_same_ids(tmp_path):
    path = tmp_path / "a.parquet"
    write_hugging_face(path, [b"a", b"b"], [0, 1])
    by_file = sources.open_by_file(f"parquet:{tmp_path}")
    items = list(by_file.list_file(by_file.paths[0]))
    listed = sources.open_source(f"parquet:{path}").list_items().images
    assert [i.image_id for i in items] == [i.image_id for i in listed]
    with by_file.reader(tuple(items)) as read:
        assert [read(item) for item in items] == [b"a", b"b"]


def test_remote_files_are_read(tmp_path):
    write_hugging_face(tmp_path / "a.parquet", [b"a"], [1])
    root = "ram://test_parquet"
    content = (tmp_path / "a.parquet").read_bytes()
    small_pictures.write(f"{root}/a.parquet", content)
    source = sources.open_source(f"parquet:{root}/a.parquet")
    assert read_all(source) == {"a.parquet/0": (1, b"a")}


def test_what_is_not_understood_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1], "labels": [[1, 2]]}), path)
    with pytest.raises(ValueError, match=r"no column 'image'.*'x', 'labels'"):
        sources.open_source(f"parquet:{path}")
    with pytest.raises(ValueError, match="'labels' holds list"):
        sources.open_source(f"parquet:{path}#image=x")
    path.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"a.parquet: no Parquet file"):
        sources.open_source(f"parquet:{path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no Parquet file is in"):
        sources.open_source(f"parquet:{tmp_path}/empty")
