import pytest

from data_prep import sources
from noisy_student_tf.records import schema
from tests.data_prep import small_pictures


def read_all(source) -> dict[str, tuple[int | None, bytes]]:
    """Return key -> (label, bytes) of a whole source."""
    listed = tuple(sources.list_checked(source))
    with source.reader(listed) as read:
        return {item.key: (item.label, read(item)) for item in listed}


def test_folder_reads_pictures_at_any_depth_below_a_class(tmp_path):
    for path in ("dog/b.JPG", "cat/x/y/a.png", "cat/.hidden.png", "cat/a.txt"):
        small_pictures.write(f"{tmp_path}/birds/{path}", path.encode())
    small_pictures.write(f"{tmp_path}/birds/readme.txt", b"")
    source = sources.open_source(f"folder:{tmp_path}/birds/")
    first = source.list_items()[0]
    assert first.image_id == schema.make_id("birds", "cat/x/y/a.png")
    assert source.class_names == ("cat", "dog")
    assert read_all(source) == {
        "cat/x/y/a.png": (0, b"cat/x/y/a.png"),
        "dog/b.JPG": (1, b"dog/b.JPG"),
    }


def test_numbered_classes_are_ordered_by_number(tmp_path):
    for name in ("10", "9", "1"):
        small_pictures.write(f"{tmp_path}/{name}/a.png", b"x")
    source = sources.open_source(f"folder:{tmp_path}")
    assert source.class_names == ("1", "9", "10")


def test_files_have_no_classes(tmp_path):
    for path in ("b.webp", "x/a.png"):
        small_pictures.write(f"{tmp_path}/{path}", path.encode())
    source = sources.open_source(f"files:{tmp_path}")
    assert source.class_names == ()
    assert read_all(source) == {
        "b.webp": (None, b"b.webp"),
        "x/a.png": (None, b"x/a.png"),
    }


def test_folder_without_pictures_is_an_error(tmp_path):
    (tmp_path / "cat").mkdir()
    for kind in ("folder", "files"):
        source = sources.open_source(f"{kind}:{tmp_path}")
        with pytest.raises(ValueError, match="there are no images"):
            sources.list_checked(source)


@pytest.mark.parametrize("heading", ["", "path,label\n", "\ufeffPath, Label\n"])
def test_csv_reads_paths_relative_to_itself(tmp_path, heading):
    small_pictures.write(f"{tmp_path}/deep/a.png", b"a")
    small_pictures.write(f"{tmp_path}/b.png", b"b")
    text = heading + 'deep/a.png,owl\n\n"b.png", cat\n'
    (tmp_path / "list.csv").write_text(text)
    source = sources.open_source(f"csv:{tmp_path}/list.csv")
    assert source.class_names == ("cat", "owl")
    assert read_all(source) == {"deep/a.png": (1, b"a"), "b.png": (0, b"b")}


def test_csv_of_paths_alone_has_no_classes(tmp_path):
    (tmp_path / "list.csv").write_text("path\na.png\n")
    source = sources.open_source(f"csv:{tmp_path}/list.csv")
    assert source.class_names == ()
    assert [item.label for item in source.list_items()] == [None]


def test_csv_with_a_field_too_few_is_an_error(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.png,cat\nb.png\n")
    with pytest.raises(ValueError, match=r"line 3 is \['b.png'\]; accepted"):
        sources.open_source(f"csv:{tmp_path}/list.csv")


def test_two_images_with_the_same_id_are_an_error(tmp_path):
    (tmp_path / "list.csv").write_text("a.png,cat\nb.png,dog\na.png,dog\n")
    source = sources.open_source(f"csv:{tmp_path}/list.csv")
    with pytest.raises(
        ValueError, match=r"'a.png' and 'a.png' have the same id [0-9a-f]{32}"
    ):
        sources.list_checked(source)


def test_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean folder:/data/birds\?"):
        sources.open_source("foldr:/data/birds")


def test_path_that_is_no_shard_is_an_error(tmp_path):
    for path in (f"{tmp_path}/none-*", str(tmp_path), "birds"):
        with pytest.raises(FileNotFoundError, match="no shard matches"):
            sources.open_source(path)
