import multiprocessing

import pytest

from data_prep.shards import progress


@pytest.mark.parametrize(
    ("num_done", "total", "expected"),
    [
        (0, 500, "images: 4 s"),
        (200, 1000, "images: 200 of 1,000, 50/s, 16 seconds left"),
        (200, 250, "images: 200 of 250, 50/s, 1 second left"),
        (200, None, "images: 200, 50/s"),
        (200, 0, "images: 200, 50/s"),
    ],
)
def test_rate_and_time_left(num_done, total, expected):
    assert progress.describe("images", num_done, total, 4.0) == expected


def test_images_are_counted_where_it_was_said():
    counter = multiprocessing.Value("q", 0)
    progress.count_in(counter)
    try:
        progress.advance(3)
        progress.advance(4)
    finally:
        progress.count_in(None)
    progress.advance(5)
    assert counter.value == 7
