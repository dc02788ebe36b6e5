import pathlib
import shutil

import pytest
from absl import flags

from data_prep import build_labeled, build_unlabeled, find_duplicates
from noisy_student_tf import configs
from noisy_student_tf.records import duplicates, schema, shards
from tests.data_prep import small_pictures
from tests.data_prep.duplicates.test_perceptual import scene


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Labeled and unlabeled shards; unlabeled copies of a test image."""
    root = tmp_path_factory.mktemp("images")
    for label in range(2):
        for seed in range(6):
            small_pictures.write(
                f"{root}/folder/c{label}/{seed}.png",
                small_pictures.encode(scene(10 * label + seed)),
            )
    for seed in range(50, 58):
        small_pictures.write(
            f"{root}/more/{seed}.png", small_pictures.encode(scene(seed))
        )
    data = configs.DataConfig(
        labeled=f"folder:{root}/folder",
        unlabeled=f"files:{root}/more",
        evaluation_fraction=0.3,
        validation_fraction=0.0,
        num_shards=2,
    )
    build_labeled.build(data=data, directory=f"{root}/labeled")
    test = shards.open_split(f"{root}/labeled", "test")
    # Of each split one picture, smaller and compressed; one of them twice,
    # and one unlabeled picture twice.
    for name, seed, kind, quality in (
        ("test_copy", _seed_of(root, test), "JPEG", 60),
        ("unlabeled_copy", 50, "JPEG", 60),
    ):
        picture = scene(seed).resize((200, 150))
        small_pictures.write(
            f"{root}/more/{name}.jpg",
            small_pictures.encode(picture, kind, quality=quality),
        )
    small_pictures.write(
        f"{root}/more/tiny.png",
        small_pictures.encode(scene(1).resize((32, 32))),
    )
    build_unlabeled.build(
        data=data,
        directory=f"{root}/unlabeled",
        labeled_directory=f"{root}/labeled",
    )
    return root


def _seed_of(root, shard_set):
    """Return the seed of the first test picture, by its id."""
    record = next(shards.read_records(shard_set.paths[0]))
    image_id = schema.parse_image(record)["image_id"].numpy()
    for label in range(2):
        for seed in range(6):
            key = f"c{label}/{seed}.png"
            if schema.make_id("folder", key) == image_id:
                return 10 * label + seed
    raise AssertionError(f"{image_id.hex()} is in no folder of {root}")


def find(root, name, **labeling):
    find_duplicates.find(
        unlabeled_directory=f"{root}/unlabeled",
        labeled_directory=f"{root}/labeled",
        directory=f"{root}/{name}",
        labeling=configs.LabelingConfig(**labeling),
    )
    manifest = shards.read_manifest(f"{root}/{name}")
    rows = [
        each
        for index in range(len(manifest["shards"]))
        for each in duplicates.read(
            f"{root}/{name}", index, len(manifest["shards"])
        )
    ]
    return manifest, rows


def test_a_copy_of_a_test_image_is_left_out(images):
    manifest, (found,) = find(images, "near")
    assert found.image_id == schema.make_id("more", "test_copy.jpg")
    assert found.kept_split == "test"
    assert 0 <= found.distance <= 4
    test = shards.open_split(f"{images}/labeled", "test")
    records = shards.read_records(test.paths[found.kept_shard])
    ids = [schema.parse_image(r)["image_id"].numpy() for r in records]
    assert found.kept_id in ids
    assert manifest["num_left_out"] == {"test": 1}
    assert manifest["num_images"] == 11
    # The tiny picture has no hash.
    assert manifest["num_hashed"] == 10
    names = {path.name for path in pathlib.Path(f"{images}/near").iterdir()}
    assert names == {*manifest["shards"], "manifest.json", "search.json"}


def test_unlabeled_copies_keep_the_one_of_the_smallest_id(images):
    _, rows = find(images, "all", deduplicate=True)
    pair = sorted(
        schema.make_id("more", name)
        for name in ("50.png", "unlabeled_copy.jpg")
    )
    (within,) = (row for row in rows if row.kept_split == "unlabeled")
    assert [within.kept_id, within.image_id] == pair
    assert len(rows) == 2


def test_an_unfinished_search_goes_on_or_is_refused(images):
    _, expected = find(images, "again")
    path = pathlib.Path(f"{images}/again")
    (path / "manifest.json").unlink()
    (path / duplicates.file_name(1, 2)).unlink()
    assert find(images, "again")[1] == expected
    with pytest.raises(ValueError, match=r"another setting or of .*Remove it"):
        find(images, "again", near_duplicate_bits=2)
    shutil.rmtree(path)
    assert find(images, "again", near_duplicate_bits=2)[0]["max_bits"] == 2


def test_main_searches_with_the_flags_that_are_given(
    images, tmp_path, monkeypatch
):
    values = flags.FlagValues()
    find_duplicates.define_flags(values)
    arguments = values(
        [
            "find_duplicates",
            f"--labeled_dir={images}/labeled",
            f"--unlabeled_dir={images}/unlabeled",
            f"--output_dir={tmp_path}/found",
            "--max_bits=2",
            "--deduplicate",
        ]
    )
    monkeypatch.setattr(find_duplicates, "FLAGS", values)
    find_duplicates.main(arguments)
    manifest = shards.read_manifest(f"{tmp_path}/found")
    assert manifest["max_bits"] == 2
    assert manifest["min_side"] == 64
    assert manifest["deduplicate"]


def test_a_search_without_a_distance_is_refused():
    values = flags.FlagValues()
    find_duplicates.define_flags(values)
    with pytest.raises(flags.IllegalFlagValueError, match="accepted is 0"):
        values(
            [
                "find_duplicates",
                "--labeled_dir=a",
                "--unlabeled_dir=b",
                "--output_dir=c",
                "--max_bits=-1",
            ]
        )
