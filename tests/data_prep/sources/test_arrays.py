import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image

from data_prep import sources

PICTURES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([2, 0, 1, 1, 0], np.uint8)


def idx(array: np.ndarray) -> bytes:
    """Return an array of bytes as MNIST's files hold it."""
    header = struct.pack(
        f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape
    )
    return header + array.tobytes()


@pytest.fixture(params=["", ".gz"], ids=["plain", "gzipped"])
def directory(request, tmp_path):
    """MNIST's four files, three of five images in the test pair."""
    for part, number in (("train", 5), ("t10k", 3)):
        for name, array in (
            ("images-idx3", PICTURES[:number]),
            ("labels-idx1", LABELS[:number]),
        ):
            content = idx(array)
            if request.param:
                content = gzip.compress(content)
            path = tmp_path / f"{part}-{name}-ubyte{request.param}"
            path.write_bytes(content)
    return tmp_path


def read_pixels(source) -> list[np.ndarray]:
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        return [
            np.asarray(Image.open(io.BytesIO(read(item)))) for item in listed
        ]


def test_idx_reads_both_pairs(directory):
    train = sources.open_source(f"idx:{directory}")
    np.testing.assert_array_equal(read_pixels(train), PICTURES)
    listed = train.list_items().images
    assert [item.label for item in listed] == LABELS.tolist()
    assert [item.key for item in listed] == ["0", "1", "2", "3", "4"]
    assert train.class_names == ("0", "1", "2")
    test = sources.open_source(f"idx:{directory}#t10k")
    np.testing.assert_array_equal(read_pixels(test), PICTURES[:3])
    ids = {item.image_id for item in listed}
    assert not ids & {item.image_id for item in test.list_items().images}


def test_idx_without_labels_has_no_classes(directory):
    for path in directory.glob("train-labels*"):
        path.unlink()
    source = sources.open_source(f"idx:{directory}")
    assert source.class_names == ()
    assert [item.label for item in source.list_items().images] == [None] * 5


def test_damaged_idx_is_an_error(directory):
    (path,) = directory.glob("train-images*")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"train-images.*(truncated|damaged)"):
        sources.open_source(f"idx:{directory}")


def test_idx_pair_that_does_not_belong_together_is_an_error(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PICTURES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:4]))
    with pytest.raises(ValueError, match="4 labels but 5 images"):
        sources.open_source(f"idx:{tmp_path}")


def test_what_is_no_idx_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no train-images-idx3-ubyte"):
        sources.open_source(f"idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"PNG picture")
    with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
        sources.open_source(f"idx:{tmp_path}")


def test_digits_are_scaled_to_bytes():
    source = sources.open_source("digits")
    pictures = read_pixels(source)
    assert len(pictures) == 1797
    assert pictures[0].shape == (8, 8)
    assert max(picture.max() for picture in pictures) == 255
    with pytest.raises(ValueError, match="digits takes no argument"):
        sources.open_source("digits:8x8")
