import dataclasses
import shutil

import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.review import places, stored
from tests.review import small_run

KEYS = [f"{number}.png" for number in range(7)]


@pytest.fixture
def workdir(tmp_path):
    splits = {
        "unlabeled": small_run.Pictures(KEYS),
        "train": small_run.Pictures(["cat/1.png"], [0]),
    }
    return small_run.write(str(tmp_path / "run"), splits)


def find(workdir, *keys):
    found = places.find_ids(workdir, list(map(small_run.image_id, keys)))
    return [found[small_run.image_id(key)] for key in keys]


def test_pictures_are_read_where_they_lie(workdir):
    pictures = stored.Pictures(workdir)
    for place in find(workdir, "6.png", "0.png", "cat/1.png"):
        assert pictures.read(place) == small_run.picture(place.key)


def test_many_are_read_shard_by_shard(workdir):
    wanted = find(workdir, "5.png", "0.png", "3.png", "2.png", "cat/1.png")
    found = dict(stored.Pictures(workdir).read_all(wanted))
    assert found == {each: small_run.picture(each.key) for each in wanted}


def test_remote_shards_are_read_from_the_front(workdir):
    root = "ram://review_stored"
    for folder in ("unlabeled", "labeled"):
        files.make_directories(f"{root}/{folder}")
        for name in files.list_directory(workdir.folder(folder)):
            source = files.join(workdir.folder(folder), name)
            files.write_bytes(
                f"{root}/{folder}/{name}", files.read_bytes(source)
            )
    remote = workdirs.Workdir(root)
    wanted = find(remote, "6.png", "0.png", "4.png")
    found = dict(stored.Pictures(remote).read_all(wanted))
    assert found == {each: small_run.picture(each.key) for each in wanted}
    beyond = dataclasses.replace(wanted[0], row=9)
    with pytest.raises(ValueError, match="record 9"):
        stored.Pictures(remote).read(beyond)


def test_another_image_or_none_there_is_an_error(workdir):
    place, other = find(workdir, "0.png", "2.png")
    pictures = stored.Pictures(workdir)
    for changed in (
        dataclasses.replace(place, row=other.row),
        dataclasses.replace(place, row=99),
    ):
        with pytest.raises(ValueError, match=f"record {changed.row}"):
            pictures.read(changed)


def test_lost_and_damaged_shards(workdir):
    (place,) = find(workdir, "0.png")
    path = files.join(workdir.unlabeled, "unlabeled-00000-of-00002.tfrecord")
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match="truncated"):
        stored.Pictures(workdir).read(place)
    shutil.os.remove(path)
    with pytest.raises(FileNotFoundError, match="is missing"):
        stored.Pictures(workdir).read(place)
