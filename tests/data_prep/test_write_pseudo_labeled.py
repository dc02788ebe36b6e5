import os

import numpy as np
import pytest

from data_prep import write_pseudo_labeled
from noisy_student_tf import config
from noisy_student_tf.pseudo_labels import select
from noisy_student_tf.records import predictions, schema, shards
from tests.pseudo_labels import synthetic

_NUM_IMAGES = 30
_CLASSES = 3


def write_images(directory, order, cuts, *, has_manifest=True):
    """Unlabeled shards of the images `order`, divided before rows `cuts`."""
    os.makedirs(directory, exist_ok=True)
    ids = synthetic.make_ids(_NUM_IMAGES)
    parts = np.split(np.asarray(order), cuts)
    names = []
    for index, part in enumerate(parts):
        names.append(shards.shard_name("unlabeled", index, len(parts)))
        with shards.open_writer(str(directory / names[-1])) as writer:
            for i in part:
                writer.write(
                    schema.encode_image(
                        image=b"image %d" % i, image_id=ids[i].tobytes()
                    )
                )
    if not has_manifest:
        return
    entry = shards.split_manifest(
        paths=names, num_records=len(order), schema="image", num_classes=0
    )
    shards.write_manifest(
        str(directory),
        {"splits": {"unlabeled": entry}, "class_names": ["a", "b", "c"]},
    )


def fingerprint(directory):
    return shards.fingerprint(str(directory / "manifest.json"))


@pytest.fixture
def inputs(tmp_path):
    """Three shards, the second without a selected image."""
    generator = np.random.default_rng(0)
    confidences = generator.uniform(0.31, 1, _NUM_IMAGES)
    confidences[10:20] = 0.1
    # Within its shard, a prediction's place is not its image's.
    order = np.concatenate([np.arange(10)[::-1], np.arange(10, 30)])
    write_images(tmp_path / "unlabeled", order, [10, 20])
    synthetic.write_predictions(
        tmp_path / "predictions",
        generator.integers(0, _CLASSES, _NUM_IMAGES),
        confidences,
        num_classes=_CLASSES,
        cuts=[10, 20],
        unlabeled=fingerprint(tmp_path / "unlabeled"),
    )
    make_selection(tmp_path)
    return tmp_path


def make_selection(root):
    select.select(
        predictions_directory=str(root / "predictions"),
        directory=str(root / "selection"),
        selection=config.SelectionConfig(images_per_class=9),
        num_classes=_CLASSES,
        seed=0,
    )


def write(root):
    write_pseudo_labeled.write(
        unlabeled_directory=str(root / "unlabeled"),
        predictions_directory=str(root / "predictions"),
        selection_directory=str(root / "selection"),
        directory=str(root / "out"),
        iteration=2,
    )


def read(root):
    """Parsed records per shard."""
    shard_set = shards.open_split(str(root / "out"), "pseudo_labeled")
    return [
        [
            (
                schema.parse_pseudo_labeled(record, num_classes=_CLASSES),
                int(schema.parse_copies(record)),
            )
            for record in shards.read_records(path)
        ]
        for path in shard_set.paths
    ]


def contents(directory):
    return {
        name: (directory / name).read_bytes() for name in os.listdir(directory)
    }


def test_records_hold_image_soft_label_and_copies(inputs):
    write(inputs)
    records = read(inputs)
    assert len(records[1]) == 0
    ids = synthetic.make_ids(_NUM_IMAGES)
    selected = synthetic.read_selection(inputs / "selection")
    copies = {}
    for parsed, count in records[0] + records[2]:
        image_id = parsed["image_id"].numpy()
        copies[image_id] = count
        number = int(parsed["image"].numpy().split()[1])
        assert ids[number].tobytes() == image_id
        assert float(parsed["probabilities"].numpy().max()) == 1
    assert copies == selected
    manifest = shards.read_manifest(str(inputs / "out"))
    entry = manifest["splits"]["pseudo_labeled"]
    assert entry["num_records"] == len(selected)
    assert entry["num_copies"] == sum(selected.values()) == 27
    assert manifest["copies_per_class"]["pseudo_labeled"] == [9, 9, 9]
    assert manifest["iteration"] == 2
    assert manifest["teacher_fingerprint"] == "abc"
    assert manifest["class_names"] == ["a", "b", "c"]
    for name, checksum in manifest["checksums"].items():
        assert shards.fingerprint(str(inputs / "out" / name)) == checksum


def test_killed_writing_ends_byte_identical(inputs):
    write(inputs)
    expected = contents(inputs / "out")
    untouched = shards.shard_name("pseudo_labeled", 0, 3)
    modified = os.stat(inputs / "out" / untouched).st_mtime_ns
    os.remove(inputs / "out" / "manifest.json")
    os.remove(inputs / "out" / shards.index_name("pseudo_labeled", 2, 3))
    write(inputs)
    assert contents(inputs / "out") == expected
    assert os.stat(inputs / "out" / untouched).st_mtime_ns == modified


def test_selected_images_that_are_missing_are_named(inputs):
    write_images(
        inputs / "unlabeled",
        range(1, _NUM_IMAGES),
        [9, 19],
        has_manifest=False,
    )
    with pytest.raises(
        Exception, match=r"unlabeled-00000-of-00003.*1 selected images are mi"
    ):
        write(inputs)
    assert not shards.is_finished(str(inputs / "out"))


def test_repeated_images_are_named(inputs):
    order = [0, 0, *range(1, _NUM_IMAGES)]
    write_images(inputs / "unlabeled", order, [11, 21], has_manifest=False)
    with pytest.raises(Exception, match="and 1 occur again"):
        write(inputs)


def test_inputs_of_different_teachers_or_shards_are_refused(inputs):
    directory = str(inputs / "selection")
    manifest = shards.read_manifest(directory)
    shards.write_manifest(directory, {**manifest, predictions.TEACHER: "x"})
    with pytest.raises(ValueError, match="differ in their shards, their teach"):
        write(inputs)
    shards.write_manifest(directory, {**manifest, "shards": []})
    with pytest.raises(ValueError, match="differ in their shards"):
        write(inputs)
