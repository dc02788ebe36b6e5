"""One heap with everything in it that people have in theirs."""

import pathlib

import numpy as np
import pytest

from data_prep import build_labeled, build_unlabeled, sources
from data_prep.shards import sidecars
from data_prep.sources import tfrecords
from noisy_student_tf import configs
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.records import schema, shards
from noisy_student_tf.serving import exported, served
from tests import one_decoder
from tests.data_prep import heap_files
from tests.serving import small_exports


@pytest.fixture(scope="module")
def heap(tmp_path_factory):
    """Write everything, below a folder whose name looks like a pattern."""
    root = tmp_path_factory.mktemp("heap [2024]")
    heap_files.write(root)
    return root


def build(root: pathlib.Path, folder: str, **places: str):
    """Build shards; return where, the two manifests and the configuration."""
    data = configs.DataConfig(
        **places,
        split="stratified",
        max_corrupt_fraction=0.1,
        # The picture of two classes trains and is held out.
        allow_overlap=True,
        num_shards=2,
    )
    labeled, unlabeled = (
        f"{root}/{folder}/{name}" for name in ("labeled", "unlabeled")
    )
    build_labeled.build(data=data, directory=labeled)
    build_unlabeled.build(
        data=data, directory=unlabeled, labeled_directory=labeled
    )
    return (
        root / folder,
        shards.read_manifest(labeled),
        shards.read_manifest(unlabeled),
        data,
    )


@pytest.fixture(scope="module")
def built(heap):
    """Build shards of folders and of Parquet files."""
    return build(
        heap,
        "shards",
        labeled=f"folder:{heap}/labeled",
        evaluation=f"parquet:{heap}/held out",
        unlabeled=f"files:{heap}/unlabeled",
    )


@pytest.fixture(scope="module")
def built_of_lists(heap):
    """Build shards of a table, of WebDataset's files and of split folders."""
    return build(
        heap,
        "shards of lists",
        labeled=f"csv:{heap}/tables/list.csv",
        evaluation=f"wds:{heap}/packed/held-out-{{00..00}}.tar",
        unlabeled=f"splits:{heap}/splits#train",
    )


def keys(root: pathlib.Path, folder: str) -> list[str]:
    directory = f"{root}/{folder}"
    return [
        key
        for split in shards.read_manifest(directory)["splits"]
        for path in shards.index_paths(directory, split)
        for key in sidecars.read_column([path], "key").to_pylist()
    ]


def test_the_right_images_are_labeled(built):
    root, labeled, *_ = built
    assert labeled["class_names"] == sorted(
        [*heap_files.CLASSES, heap_files.DRAWN]
    )
    expected = [
        f"{name}/more/{seed}.PNG"
        for name, seeds in heap_files.CLASSES.items()
        for seed in seeds
    ]
    expected += [f"{heap_files.DRAWN}/{name}" for name in heap_files.kinds(500)]
    expected += [f"{name}/same.png" for name in ("cat [1]", "dog,s")]
    expected += [f"test-00000-of-00001.parquet/{n}" for n in range(6)]
    assert sorted(keys(root, "labeled")) == sorted(expected)
    counts = labeled["counts_per_class"]
    assert counts["test"] == [2, 2, 0, 2]
    # The class of one image trains.
    assert counts["validation"] == [4, 1, 1, 0]
    assert counts["train"] == [37, 6, 12, 1]


def test_what_was_left_out_is_reported_with_the_reason(built):
    _, labeled, *_ = built
    assert labeled["ignored"]["labeled"] == {
        ".DNG": 1,
        ".txt": 1,
        "hidden": 2,
        "@eaDir/": 1,
        "in no class folder": 1,
        "no regular file": 1,
        "link to a folder that is read already": 1,
    }
    (corrupt,) = labeled["corrupt"]
    assert corrupt["key"] == "cat [1]/truncated.png"
    assert corrupt["reason"]
    assert labeled["in_several_classes"] == [
        "cat [1]/same.png (cat [1]) = dog,s/same.png (dog,s)"
    ]


def test_the_right_images_are_unlabeled(built):
    root, _, unlabeled, _ = built
    expected = [f"{seed % 3}/{seed}.png" for seed in heap_files.UNLABELED]
    expected += [f"kinds/{name}" for name in heap_files.kinds(600)]
    assert sorted(keys(root, "unlabeled")) == sorted(expected)
    assert unlabeled["excluded"]["keys"] == ["copy.png"]
    assert unlabeled["ignored"]["unlabeled"] == {
        ".zip": 1,
        "link to a folder that is read already": 1,
    }
    reasons = {each["key"]: each["reason"] for each in unlabeled["corrupt"]}
    assert reasons == {
        "empty.png": "the file is empty",
        "gone.png": "no such file",
    }


def test_lists_and_packed_files_give_the_same_images(built_of_lists):
    root, labeled, unlabeled, _ = built_of_lists
    assert labeled["class_names"] == sorted(
        [*heap_files.CLASSES, heap_files.DRAWN]
    )
    assert labeled["counts_per_class"]["test"] == [2, 2, 0, 2]
    assert labeled["counts_per_class"]["train"] == [36, 5, 12, 1]
    assert labeled["ignored"] == {
        "labeled": {"line that repeats another": 1},
        "evaluation": {"hidden": 1, "sample without a picture": 1, ".txt": 1},
    }
    (lost,) = labeled["corrupt"]
    assert lost["key"].endswith("/owl/lost.png")
    assert lost["reason"] == "no such file"
    expected = [
        f"train/{heap_files.DRAWN}/{name}" for name in heap_files.kinds(600)
    ]
    expected += ["train/cat [1]/1.png"]
    assert sorted(keys(root, "unlabeled")) == sorted(expected)
    assert unlabeled["excluded"]["keys"] == ["train/owl/0.png"]


def read_files(data: configs.DataConfig) -> dict[bytes, bytes]:
    """Return id -> file of every image that can be read."""
    found = {}
    for specification in (data.labeled, data.evaluation, data.unlabeled):
        source = sources.open_source(specification)
        images = source.list_items().images
        with source.reader(tuple(images)) as read:
            for item in images:
                try:
                    found[item.image_id] = read(item)
                except FileNotFoundError:
                    continue
    return found


def read_stored(root: pathlib.Path) -> dict[bytes, bytes]:
    """Return id -> picture of every image in shards."""
    return {
        schema.stored_bytes(example, schema.IMAGE_ID): schema.stored_bytes(
            example, schema.IMAGE
        )
        for folder in ("labeled", "unlabeled")
        for split in shards.read_manifest(f"{root}/{folder}")["splits"]
        for path in shards.open_split(f"{root}/{folder}", split).paths
        for _, _, example in tfrecords.read_examples(path)
    }


@pytest.mark.parametrize("name", ["built", "built_of_lists"])
def test_files_are_served_as_the_pixels_that_train(name, request):
    root, *_, data = request.getfixturevalue(name)
    originals, stored = read_files(data), read_stored(root)
    assert stored.keys() <= originals.keys()
    trained = [decode.decode(picture).numpy() for picture in stored.values()]
    given = [originals[image_id] for image_id in stored]
    for pixels, content in zip(trained, given, strict=True):
        np.testing.assert_array_equal(
            one_decoder.read(content).classified, pixels
        )
    model = small_exports.make_model()
    opened = served.in_memory(
        model=model,
        spec=vars(model.spec),
        preprocess=served.Preprocess(decoders.decode, small_exports.prepare),
    )
    answers = [each.probabilities for each in exported.classify(opened, given)]
    expected = small_exports.probabilities(model, trained)
    np.testing.assert_allclose(
        answers, expected, atol=small_exports.tolerance(model)
    )
