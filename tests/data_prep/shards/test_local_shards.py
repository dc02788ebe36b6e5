import multiprocessing
import os
import pathlib
import threading
import time

import pytest

from data_prep.shards import local_shards, progress

_START_SECONDS = 60


def square(number: int) -> tuple[int, int]:
    progress.advance(1)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


def square_when_others_do(element: tuple[int, str]) -> tuple[int, int]:
    """Square a number; this process waits until another one has begun."""
    number, path = element
    wait_for_another(path)
    return square(number)


def end_another(path: str) -> None:
    """End a process, if it is another one than this."""
    wait_for_another(path)
    if multiprocessing.parent_process():
        os._exit(1)


def wait_for_another(path: str) -> None:
    if multiprocessing.parent_process():
        pathlib.Path(path).touch()
    end = time.monotonic() + _START_SECONDS
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.05)


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


def meet_another(path: str) -> bool:
    """Wait, in a thread of this process, for a second one that does so."""
    pathlib.Path(f"{path}{threading.get_ident()}").touch()
    end = time.monotonic() + _START_SECONDS
    folder = pathlib.Path(path).parent
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return len(list(folder.iterdir())) >= 2


def test_few_images_are_done_in_this_process():
    assert sorted(run([2, 3])) == [(4, os.getpid()), (9, os.getpid())]


def test_threads_share_few_images(tmp_path, monkeypatch):
    monkeypatch.setattr(local_shards, "num_cores", lambda: 2)
    assert run([f"{tmp_path}/thread"] * 2, meet_another) == [True, True]


def test_nothing_is_begun_after_an_error(monkeypatch):
    monkeypatch.setattr(local_shards, "num_cores", lambda: 1)
    before = progress._counter.value
    with pytest.raises(ValueError, match="-1 is negative"):
        run([-1, *range(1000)])
    assert progress._counter.value - before < 1000


def test_others_join_this_process(tmp_path):
    elements = [(number, f"{tmp_path}/begun") for number in range(20)]
    results = run(elements, square_when_others_do, num_processes=3)
    assert sorted(square for square, _ in results) == [x * x for x in range(20)]
    processes = {process for _, process in results}
    assert os.getpid() in processes
    assert len(processes) in (2, 3)


def test_nothing_waits_for_others_to_start():
    # They take seconds, in which all is done.
    results = run(list(range(8)), num_processes=2)
    assert [square for square, _ in results] == [x * x for x in range(8)]


def test_errors_are_those_of_the_function(tmp_path):
    with pytest.raises(ValueError, match="-1 is negative"):
        run([1, -1, 2], num_processes=2)
    elements = [(number, f"{tmp_path}/begun") for number in (-1, -2, -3)]
    with pytest.raises(ValueError, match="is negative"):
        run(elements, square_when_others_do, num_processes=2)


def test_a_process_that_is_ended_is_named(tmp_path):
    elements = [f"{tmp_path}/begun"] * 4
    with pytest.raises(RuntimeError, match="numbers: a process ended"):
        run(elements, end_another, num_processes=2)
