import hashlib
import uuid

import pytest

from noisy_student_tf import files
from noisy_student_tf.records import shards


@pytest.fixture(params=["local", "ram"])
def directory(request, tmp_path) -> str:
    """An empty directory on disk, and one in TensorFlow's memory."""
    if request.param == "local":
        return str(tmp_path)
    path = f"ram://{uuid.uuid4().hex}"
    files.make_directories(path)
    return path


def _write(directory: str, count: int = 2) -> list[str]:
    names = [shards.shard_name("train", i, count) for i in range(count)]
    for name in names:
        with shards.open_writer(files.join(directory, name)) as writer:
            writer.write(b"one")
            writer.write(b"two")
    return names


def _manifest(directory: str, names: list[str], **changes) -> None:
    entry = shards.split_manifest(
        paths=names, num_records=4, schema="image", num_classes=3, **changes
    )
    shards.write_manifest(directory, {"splits": {"train": entry}})


def test_names_sort_in_order():
    assert shards.shard_name("train", 3, 8) == "train-00003-of-00008.tfrecord"
    assert (
        shards.index_name("train", 3, 8) == "train-00003-of-00008.index.parquet"
    )


def test_what_is_written_is_read_in_order(directory):
    name = _write(directory)[0]
    records = list(shards.read_records(files.join(directory, name)))
    assert records == [b"one", b"two"]


def test_a_failed_shard_leaves_nothing(directory):
    path = files.join(directory, shards.shard_name("train", 0, 1))

    def write():
        with shards.open_writer(path) as writer:
            writer.write(b"one")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write()
    assert files.list_directory(directory) == []


def test_a_split_is_found_through_the_manifest(directory):
    names = _write(directory)
    assert not shards.is_finished(directory)
    _manifest(directory, names)
    assert shards.is_finished(directory)
    assert shards.open_split(directory, "train") == shards.ShardSet(
        paths=tuple(files.join(directory, name) for name in names),
        num_records=4,
        schema="image",
        num_classes=3,
        num_copies=4,
    )


def test_copies_are_counted_in_the_manifest(directory):
    _manifest(directory, _write(directory), num_copies=9)
    assert shards.open_split(directory, "train").num_copies == 9


def test_foreign_files_are_read_where_they_lie(directory, tmp_path_factory):
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    path = files.join(elsewhere, _write(elsewhere, 1)[0])
    _manifest(directory, [path])
    assert shards.open_split(directory, "train").paths == (path,)


def test_an_unfinished_directory_is_an_error(directory):
    _write(directory)
    with pytest.raises(FileNotFoundError, match="missing or unfinished"):
        shards.open_split(directory, "train")


def test_an_unknown_split_is_an_error_that_lists_the_known(directory):
    _manifest(directory, _write(directory))
    with pytest.raises(FileNotFoundError, match=r"'test', only \['train'\]"):
        shards.open_split(directory, "test")


def test_a_missing_shard_is_an_error_that_names_it(directory):
    names = _write(directory)
    _manifest(directory, names)
    files.remove(files.join(directory, names[1]))
    with pytest.raises(FileNotFoundError, match=names[1]):
        shards.open_split(directory, "train")


def test_fingerprints_are_those_of_the_contents_in_turn(directory):
    paths = [files.join(directory, name) for name in ("a", "b")]
    files.write_bytes(paths[0], b"x" * (3 << 20))
    files.write_bytes(paths[1], b"y")
    expected = hashlib.sha256(b"x" * (3 << 20) + b"y").hexdigest()
    assert shards.fingerprint(*paths) == expected
    assert shards.fingerprint(*reversed(paths)) != expected


def test_a_manifests_fingerprint_is_that_of_its_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing or unfinished"):
        shards.manifest_fingerprint(str(tmp_path))
    shards.write_manifest(str(tmp_path), {"a": 1})
    expected = shards.fingerprint(str(tmp_path / "manifest.json"))
    assert shards.manifest_fingerprint(str(tmp_path)) == expected
