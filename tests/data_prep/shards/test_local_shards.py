import os

import pytest

from data_prep.shards import local_shards, progress


def square(number: int) -> tuple[int, int]:
    progress.advance(1)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


def end(number: int) -> None:
    os._exit(number)


def run(numbers, function=square, **options):
    return list(
        local_shards.run(
            numbers,
            function,
            title="numbers",
            num_images=len(numbers),
            **options,
        )
    )


def test_few_images_are_done_in_this_process():
    assert run([2, 3]) == [(4, os.getpid()), (9, os.getpid())]


def test_every_process_works():
    results = run(list(range(20)), num_processes=2)
    assert sorted(square for square, _ in results) == [x * x for x in range(20)]
    assert os.getpid() not in {process for _, process in results}


def test_errors_are_those_of_the_function():
    with pytest.raises(ValueError, match="-1 is negative"):
        run([1, -1, 2], num_processes=2)


def test_a_process_that_is_ended_is_named():
    with pytest.raises(RuntimeError, match="numbers: a process ended"):
        run([1, 2], end, num_processes=2)
