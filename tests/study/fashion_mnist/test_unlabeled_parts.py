import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import schema, shards
from study.fashion_mnist import unlabeled_parts
from tests.report import synthetic_run

CONFIG = presets.preset("digits")


def read(directory):
    """{id: record} of all shards."""
    return {
        schema.parse_image(record)["image_id"].numpy(): record
        for path in files.glob(f"{directory}/*.tfrecord")
        for record in shards.read_records(path)
    }


def test_classes_thin_out_geometrically_and_records_stay(tmp_path):
    data = synthetic_run.digits()
    synthetic_run.write_unlabeled(str(tmp_path), data, with_truth=True)
    run = workdirs.Workdir(str(tmp_path))
    unlabeled_parts.write_long_tail(run, CONFIG, str(tmp_path / "tail"))
    before, after = read(run.unlabeled), read(tmp_path / "tail")
    assert after.items() < before.items()
    label_of = dict(zip(data.ids, data.labels, strict=True))
    kept = np.bincount([label_of[image_id] for image_id in after])
    total = np.bincount(data.labels)
    assert kept[0] == total[0]
    expected = total * 10.0 ** (-np.arange(10) / 9)
    # Each class is a binomial draw.
    assert (np.abs(kept - expected) < 4 * np.sqrt(expected)).all()
    manifest = shards.read_manifest(str(tmp_path / "tail"))
    assert manifest["num_images"] == len(after)


def test_unsure_images_are_those_below_the_threshold(tmp_path):
    data = synthetic_run.write(str(tmp_path))
    run = workdirs.Workdir(str(tmp_path))
    threshold = float(np.float32(np.median(data.probabilities.max(axis=1))))
    unlabeled_parts.write_unsure(
        run,
        config_tree.override(
            CONFIG, {"selection.confidence_threshold": threshold}
        ),
        str(tmp_path / "unsure"),
    )
    confidences = data.probabilities.max(axis=1)
    expected = {
        image_id
        for image_id, confidence in zip(data.ids, confidences, strict=True)
        if confidence < threshold
    }
    # The one in the middle is at the threshold: it is selected, not unsure.
    assert 0 < len(expected) < len(data.ids) / 2
    after = read(tmp_path / "unsure")
    assert set(after) == expected
    assert after.items() < read(run.unlabeled).items()


@pytest.mark.parametrize(
    "write", [unlabeled_parts.write_long_tail, unlabeled_parts.write_unsure]
)
def test_a_finished_folder_is_left_alone(tmp_path, write):
    shards.write_manifest(str(tmp_path), {})
    write(workdirs.Workdir("nowhere"), CONFIG, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_shares_fall_from_all_to_a_tenth():
    assert unlabeled_parts.shares(3) == pytest.approx([1, 10**-0.5, 0.1])
    assert unlabeled_parts.is_among(b"any", 1.0)
    assert not unlabeled_parts.is_among(b"any", 0.0)
