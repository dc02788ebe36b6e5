import pytest

from data_prep import sources
from tests.data_prep.small_pictures import write_tar


def read_all(source) -> dict[str, tuple[int | None, bytes]]:
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        # Backward, since reading is at random.
        return {item.key: (item.label, read(item)) for item in listed[::-1]}


def test_members_in_folders_have_classes(tmp_path):
    write_tar(tmp_path / "a.tar", {"./owl/x/1.png": b"1", "owl/readme": b"-"})
    write_tar(tmp_path / "b.tar", {"cat/2.jpg": b"22", "owl/3.JPEG": b"333"})
    source = sources.open_source(f"tar:{tmp_path}/*.tar")
    assert source.class_names == ("cat", "owl")
    assert read_all(source) == {
        "a.tar/owl/x/1.png": (1, b"1"),
        "b.tar/cat/2.jpg": (0, b"22"),
        "b.tar/owl/3.JPEG": (1, b"333"),
    }


def test_flat_members_have_no_classes(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"1", "owl/2.png": b"2"})
    source = sources.open_source(f"tar:{tmp_path}/a.tar")
    assert source.class_names == ()
    assert read_all(source)["a.tar/1.png"] == (None, b"1")


@pytest.mark.parametrize("name", ["/etc/1.png", "owl/../../1.png"])
def test_member_outside_the_archive_is_an_error(tmp_path, name):
    write_tar(tmp_path / "a.tar", {"owl/1.png": b"1", name: b"2"})
    with pytest.raises(ValueError, match=rf"a.tar: the member '{name}' has"):
        sources.open_source(f"tar:{tmp_path}/a.tar")


def test_member_twice_is_an_error(tmp_path):
    write_tar(tmp_path / "a.tar", {"owl/1.png": b"1", "./owl/1.png": b"2"})
    source = sources.open_source(f"tar:{tmp_path}/a.tar")
    with pytest.raises(ValueError, match="have the same id"):
        sources.list_checked(source)


def test_truncated_file_is_an_error(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, {"owl/1.png": b"1" * 2000})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a.tar: not an .* or a damaged one"):
        sources.open_source(f"tar:{path}")


def test_compressed_and_missing_files_are_errors(tmp_path):
    write_tar(tmp_path / "a.tar.gz", {"owl/1.png": b"1"}, "w:gz")
    with pytest.raises(ValueError, match="not an uncompressed tar file"):
        sources.open_source(f"tar:{tmp_path}/a.tar.gz")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        sources.open_source(f"tar:{tmp_path}/*.tar")
