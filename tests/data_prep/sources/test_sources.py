import pytest

from data_prep import sources
from noisy_student_tf.records import schema
from tests.data_prep import small_pictures


def read_all(source) -> dict[str, tuple[int | None, bytes]]:
    """Return key -> (label, bytes) of a whole source."""
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        return {item.key: (item.label, read(item)) for item in listed}


def test_folder_reads_pictures_at_any_depth_below_a_class(tmp_path):
    for path in ("dog/b.JPG", "cat/x/y/a.png", "cat/.hidden.png", "cat/a.txt"):
        small_pictures.write(f"{tmp_path}/birds/{path}", path.encode())
    small_pictures.write(f"{tmp_path}/birds/readme.txt", b"")
    source = sources.open_source(f"folder:{tmp_path}/birds/")
    first = source.list_items().images[0]
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


def test_pictures_without_a_suffix_are_told_by_their_content(tmp_path):
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        picture = small_pictures.encode(small_pictures.pixels(1), kind)
        small_pictures.write(f"{tmp_path}/{kind}_file", picture)
    small_pictures.write(f"{tmp_path}/notes", b"text")
    listing = sources.open_source(f"files:{tmp_path}").list_items()
    assert sorted(item.key for item in listing.images) == [
        "GIF_file",
        "JPEG_file",
        "PNG_file",
        "WEBP_file",
    ]
    assert listing.ignored == {"without suffix": 1}


def test_folder_without_pictures_is_an_error(tmp_path):
    (tmp_path / "cat").mkdir()
    for kind in ("folder", "files"):
        source = sources.open_source(f"{kind}:{tmp_path}")
        with pytest.raises(ValueError, match="there are no images"):
            sources.list_checked(source)


def test_splits_are_folders_of_class_folders(tmp_path):
    for path in ("train/cat/a", "train/dog/b", "val/cat/c", "test/dog/d"):
        small_pictures.write(f"{tmp_path}/set/{path}.png", path.encode())
    small_pictures.write(f"{tmp_path}/set/unlabeled/e.png", b"e")
    small_pictures.write(f"{tmp_path}/set/train/stray.png", b"f")
    source = sources.open_source(f"splits:{tmp_path}/set")
    assert source.class_names == ("cat", "dog")
    listing = source.list_items()
    found = {item.key: (item.label, item.split) for item in listing.images}
    assert found == {
        "train/cat/a.png": (0, "train"),
        "train/dog/b.png": (1, "train"),
        "val/cat/c.png": (0, "validation"),
        "test/dog/d.png": (1, "test"),
        "unlabeled/e.png": (None, "unlabeled"),
    }
    assert listing.ignored == {"in no class folder": 1}
    chosen = sources.open_source(f"splits:{tmp_path}/set#test")
    assert [(i.key, i.split) for i in chosen.list_items().images] == [
        ("test/dog/d.png", "")
    ]
    # The same images have the same ids, alone and among others.
    ids = {item.image_id for item in listing.images}
    assert {item.image_id for item in chosen.list_items().images} <= ids


def test_splits_without_class_folders_have_no_classes(tmp_path):
    for path in ("train/a.png", "test/b.png"):
        small_pictures.write(f"{tmp_path}/{path}", b"x")
    source = sources.open_source(f"splits:{tmp_path}")
    assert source.class_names == ()
    assert [i.label for i in source.list_items().images] == [None, None]


def test_pictures_beside_labeled_splits_are_unlabeled(tmp_path):
    for path in ("train/cat/a.png", "train/dog/b.png", "test/1.png"):
        small_pictures.write(f"{tmp_path}/{path}", b"x")
    listing = sources.open_source(f"splits:{tmp_path}").list_items()
    assert {item.key: item.split for item in listing.images}["test/1.png"] == (
        "unlabeled"
    )


def test_folders_of_splits_are_no_classes(tmp_path):
    for path in ("train/cat/a.png", "val/cat/b.png"):
        small_pictures.write(f"{tmp_path}/{path}", b"x")
    with pytest.raises(ValueError, match=f"Write splits:{tmp_path}"):
        sources.open_source(f"folder:{tmp_path}")
    # Following the advice.
    assert sources.open_source(f"splits:{tmp_path}").class_names == ("cat",)
    # Classes may have such names, if pictures are in them.
    small_pictures.write(f"{tmp_path}/train/c.png", b"x")
    assert sources.open_source(f"folder:{tmp_path}").class_names == (
        "train",
        "val",
    )


def test_missing_split_is_an_error(tmp_path):
    small_pictures.write(f"{tmp_path}/cat/a.png", b"x")
    with pytest.raises(ValueError, match="no folder of a split is in it"):
        sources.open_source(f"splits:{tmp_path}")
    with pytest.raises(ValueError, match="no folder test is in it"):
        sources.open_source(f"splits:{tmp_path}#test")


def test_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    small_pictures.write(f"{tmp_path}/birds/cat/a.png", b"x")
    source = sources.open_source("folder:~/birds")
    assert list(read_all(source)) == ["cat/a.png"]


def test_brackets_and_commas_in_names_are_no_pattern(tmp_path):
    for name in ("a [1].tar", "b,c.tar"):
        path = tmp_path / "run [2]" / name
        path.parent.mkdir(exist_ok=True)
        small_pictures.write_tar(path, {"cat/1.png": b"1"})
        assert len(read_all(sources.open_source(f"tar:{path}"))) == 1
    pattern = f"tar:{tmp_path}/run [2]/*.tar"
    assert len(read_all(sources.open_source(pattern))) == 2


def test_class_with_a_line_break_in_its_name_is_an_error(tmp_path):
    small_pictures.write(f"{tmp_path}/ca\nt/a.png", b"x")
    with pytest.raises(ValueError, match=r"class 'ca\\nt' has a line break"):
        sources.open_source(f"folder:{tmp_path}")


def test_ignored_files_are_named_with_what_to_do(tmp_path, caplog):
    for name in ("a.png", "b.DNG", "c.DNG", "d.txt"):
        small_pictures.write(f"{tmp_path}/{name}", b"x")
    listing = sources.list_checked(sources.open_source(f"files:{tmp_path}"))
    assert listing.ignored == {".DNG": 2, ".txt": 1}
    assert "3 files ignored: 2 .DNG (convert them to JPEG), 1 .txt." in (
        caplog.text
    )
    small_pictures.write(f"{tmp_path}/none/d.txt", b"x")
    with pytest.raises(ValueError, match=r"no images.*1 file ignored: 1 .txt"):
        sources.list_checked(sources.open_source(f"files:{tmp_path}/none"))


def test_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean folder:/data/birds\?"):
        sources.open_source("foldr:/data/birds")


def test_path_that_is_no_shard_is_an_error(tmp_path):
    for path in (f"{tmp_path}/none-*", str(tmp_path), "birds"):
        with pytest.raises(FileNotFoundError, match="no shard matches"):
            sources.open_source(path)


def test_folders_are_checked_for_images_and_others_for_being_there(tmp_path):
    small_pictures.write(f"{tmp_path}/heap/a.png", b"x")
    (tmp_path / "empty").mkdir()
    sources.check(f"files:{tmp_path}/heap")
    with pytest.raises(ValueError, match="empty: there are no images"):
        sources.check(f"files:{tmp_path}/empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sources.check(f"files:{tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError):
        sources.check(f"csv:{tmp_path}/nowhere.csv")
