import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from pyarrow import parquet

from data_prep import write_pseudo_labeled
from noisy_student_tf import configs
from noisy_student_tf.pseudo_labels import select
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)
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
        selection=configs.SelectionConfig(images_per_class=9),
        num_classes=_CLASSES,
        seed=0,
    )


def write(root):
    write_pseudo_labeled.write(
        images_directory=str(root / "unlabeled"),
        predictions_directory=str(root / "predictions"),
        selection_directory=str(root / "selection"),
        directory=str(root / "out"),
        iteration=2,
    )


def confidence_in(record):
    feature = tf.train.Example.FromString(record).features.feature
    return feature[schema.CONFIDENCE].float_list.value[0]


def read(root):
    """Parsed records per shard."""
    shard_set = shards.open_split(str(root / "out"), "pseudo_labeled")
    return [
        [
            (
                schema.parse_image(record)
                | schema.parse_pseudo_labeled(record, num_classes=_CLASSES)
                | {"confidence": confidence_in(record)},
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


def ids_of(path):
    return parquet.read_table(path)["image_id"].combine_chunks()


def predict_again(root, teacher_classes):
    """Another teacher's predictions of the pseudo-labeled shards."""
    directory = root / "out"
    count = len(shards.open_split(str(directory), "pseudo_labeled").paths)
    ids = []
    for index in range(count):
        name = shards.index_name("pseudo_labeled", index, count)
        path = str(directory / name)
        ids.append(parquet_files.fixed_bytes(ids_of(path)))
    sizes = np.cumsum([len(part) for part in ids])[:-1]
    num_images = sum(map(len, ids))
    # In another order within the first shard.
    ids[0] = ids[0][::-1]
    synthetic.write_predictions(
        root / "better",
        np.full(num_images, teacher_classes),
        np.full(num_images, 0.875),
        num_classes=_CLASSES,
        cuts=sizes,
        ids=np.concatenate(ids),
        unlabeled=fingerprint(directory),
    )


def reassign(root):
    write_pseudo_labeled.write(
        images_directory=str(root / "out"),
        predictions_directory=str(root / "better"),
        selection_directory="",
        directory=str(root / "reassigned"),
        iteration=3,
    )


def test_a_better_teacher_relabels_the_same_images_and_copies(inputs):
    write(inputs)
    predict_again(inputs, 1)
    reassign(inputs)
    before = read(inputs)
    os.rename(inputs / "out", inputs / "selected")
    os.rename(inputs / "reassigned", inputs / "out")
    after = read(inputs)
    for old, new in zip(before, after, strict=True):
        for (old_image, old_copies), (image, copies) in zip(
            old, new, strict=True
        ):
            assert old_image["image"] == image["image"]
            assert old_image["image_id"] == image["image_id"]
            assert old_copies == copies
            assert image["probabilities"].numpy().tolist() == [0, 1, 0]
            assert float(image["confidence"]) == 0.875
    manifest = shards.read_manifest(str(inputs / "out"))
    entry = manifest["splits"]["pseudo_labeled"]
    assert manifest["counts_per_class"]["pseudo_labeled"] == [
        0,
        entry["num_records"],
        0,
    ]
    assert entry["num_copies"] == 27
    assert manifest["selected_by"] == "abc"


def test_relabeling_with_predictions_of_other_images_is_refused(inputs):
    write(inputs)
    predict_again(inputs, 1)
    manifest = shards.read_manifest(str(inputs / "better"))
    manifest[predictions.UNLABELED] = "others"
    shards.write_manifest(str(inputs / "better"), manifest)
    with pytest.raises(ValueError, match="the images were built anew"):
        reassign(inputs)


def test_stored_labels_that_are_no_probabilities_are_refused(inputs):
    path = inputs / "predictions" / predictions.predictions_name(0, 3)
    table = parquet.read_table(path)
    place = table.schema.get_field_index("probabilities")
    for value, message in ((0.5, "sum to 1.5"), (np.nan, "sum to nan")):
        soft = np.zeros((10, _CLASSES), np.float16)
        soft[:, 0] = value * 3
        column = parquet_files.fixed_lists_array(soft)
        wrong = table.set_column(place, table.schema.field(place), column)
        parquet.write_table(wrong, path)
        with pytest.raises(Exception, match=message):
            write(inputs)


def test_a_damaged_image_record_names_the_shard(inputs):
    path = inputs / "unlabeled" / shards.shard_name("unlabeled", 2, 3)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Exception, match=r"00002-of-00003.*corrupted record"):
        write(inputs)


def test_killed_at_random_ends_byte_identical(inputs, monkeypatch):
    """Selection and writing stop at random places, again and again."""
    write(inputs)
    expected = [contents(inputs / name) for name in ("selection", "out")]
    for name in ("selection", "out"):
        shutil.rmtree(inputs / name)
    generator = np.random.default_rng(3)
    rename = os.replace

    class Killed(BaseException):
        pass

    def fragile(*arguments, **options):
        if generator.random() < 0.4:
            raise Killed
        rename(*arguments, **options)

    monkeypatch.setattr(os, "replace", fragile)
    num_killed = 0
    while not shards.is_finished(str(inputs / "out")):
        try:
            make_selection(inputs)
            write(inputs)
        except BaseException as error:
            if not isinstance(error, Killed) and "Killed" not in str(error):
                raise
            num_killed += 1
    assert num_killed > 3
    found = [contents(inputs / name) for name in ("selection", "out")]
    assert found == expected
