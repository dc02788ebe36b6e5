import pytest

from noisy_student_tf.review import places
from tests.review import small_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    splits = {
        "unlabeled": small_run.Pictures(
            ["a/1.png", "a/2.png", "b/1.png", "3.png"]
        ),
        "train": small_run.Pictures(["cat/7.png", "dog/8.png"], [0, 1]),
        "test": small_run.Pictures(["dog/9.png"], [1]),
    }
    return small_run.write(str(tmp_path_factory.mktemp("run")), splits)


def test_images_are_found_by_id(workdir):
    keys = ["b/1.png", "dog/8.png", "dog/9.png"]
    ids = [small_run.image_id(key) for key in [*keys, "unknown"]]
    found = places.find_ids(workdir, ids)
    assert found == {
        image_id: places.Place(image_id, split, shard, row, key, label)
        for image_id, key, split, shard, row, label in zip(
            ids[:3],
            keys,
            ["unlabeled", "train", "test"],
            [0, 1, 0],
            [1, 0, 0],
            [-1, 1, 1],
            strict=True,
        )
    }
    assert places.find_ids(workdir, []) == {}


def test_images_are_found_by_ends_of_their_paths(workdir):
    names = {
        "/data/heap/a/2.png": ["a/2.png"],
        "a/1.png": ["a/1.png"],
        "8.png": ["dog/8.png"],
        "1.png": ["a/1.png", "b/1.png"],
        "c/1.png": [],
        "xa/1.png": [],
        "/deep/3.png": ["3.png"],
    }
    found = places.find_names(workdir, names)
    for name, keys in names.items():
        assert sorted(each.key for each in found.get(name, [])) == keys
