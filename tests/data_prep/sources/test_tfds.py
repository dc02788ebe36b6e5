import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import build_labeled, sources
from data_prep.shards import local_shards
from noisy_student_tf import configs
from noisy_student_tf.records import schema, shards


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """A data set prepared in the test: pictures of one gray value each."""

    VERSION = tfds.core.Version("1.0.0")
    # There are no checksums beside this file.
    code_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 4, 3)),
                    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(20):
            picture = np.full((4, 4, 3), index, np.uint8)
            yield index, {"image": picture, "label": index % 2}


def test_mocked_data_set_is_built(tmp_path, monkeypatch):
    # What stands for a data set patches TensorFlow's files while it is read,
    # and leaves them patched where two threads read.
    monkeypatch.setattr(local_shards, "num_cores", lambda: 1)
    with tfds.testing.mock_data(num_examples=100):
        source = sources.open_source("tfds:svhn_cropped")
        assert source.class_names == tuple("0123456789")
        held_out = sources.open_source("tfds:svhn_cropped/test")
        first = held_out.list_items().images[0]
        assert first.image_id == schema.make_id("svhn_cropped/test", "0")
        listed = tuple(sources.list_checked(source).images)
        with source.reader(listed[4:9]) as read:
            pictures = [read(item) for item in listed[4:9:2]]
        assert all(picture.startswith(b"\x89PNG") for picture in pictures)
        build_labeled.build(
            data=configs.DataConfig(
                labeled="tfds:svhn_cropped", validation_fraction=0.0
            ),
            directory=str(tmp_path),
        )
    counts = shards.read_manifest(str(tmp_path))["counts_per_class"]
    assert sum(map(sum, counts.values())) == 100


def test_slices_of_a_prepared_data_set_are_in_order(tmp_path, monkeypatch):
    builder = TinyPictures(data_dir=str(tmp_path))
    builder.download_and_prepare()
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    source = sources.open_source("tfds:tiny_pictures")
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        everything = [read(item) for item in listed]
    assert len(set(everything)) == 20
    wanted = listed[7:15:3]
    with source.reader(wanted) as read:
        assert [read(item) for item in wanted] == everything[7:15:3]


def test_unknown_and_unprepared_data_sets_are_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="has no data set of this name"):
        sources.open_source("tfds:no_such_pictures")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source = sources.open_source("tfds:mnist")
    with pytest.raises(FileNotFoundError, match="tfds build mnist"):
        source.list_items()
