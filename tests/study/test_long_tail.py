import numpy as np
import pytest

from noisy_student_tf import files, workdir
from noisy_student_tf.records import schema, shards
from noisy_student_tf.study import long_tail
from tests.evaluation import synthetic_run


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
    run = workdir.Workdir(str(tmp_path))
    long_tail.write(run, str(tmp_path / "tail"))
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
    assert manifest["counts_per_class"] == kept.tolist()


def test_a_finished_folder_is_left_alone(tmp_path):
    shards.write_manifest(str(tmp_path), {})
    long_tail.write(workdir.Workdir("nowhere"), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_shares_fall_from_all_to_a_tenth():
    assert long_tail.shares(3) == pytest.approx([1, 10**-0.5, 0.1])
    assert long_tail.is_kept(b"any", 1.0)
    assert not long_tail.is_kept(b"any", 0.0)
