import pytest
import tensorflow as tf
from absl import logging

from noisy_student_tf import retries

PATH = "gs://bucket/run/manifest.json"


class Storage:
    """Refuses some times before it answers."""

    def __init__(self, num_refusals, error=tf.errors.UnavailableError):
        self.num_refusals = num_refusals
        self.num_calls = 0
        self.error = error

    def read(self):
        self.num_calls += 1
        if self.num_calls <= self.num_refusals:
            raise self.error(None, None, "503: try again")
        return b"content"


@pytest.fixture
def pauses(monkeypatch):
    """Collect the pauses in seconds in place of making them."""
    made = []
    monkeypatch.setattr(retries.time, "sleep", made.append)
    return made


def test_a_refused_request_is_made_again_later_and_later(pauses, caplog):
    storage = Storage(3)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert retries.call(PATH, storage.read) == b"content"
    assert storage.num_calls == 4
    for i, pause in enumerate(pauses):
        assert 2**i / 2 <= pause <= 2**i
    assert len(caplog.records) == 3
    for i, record in enumerate(caplog.records, 1):
        message = record.getMessage()
        assert message.startswith(f"{PATH}: try {i} of 6 failed, the next one")


def test_storage_that_stays_away_is_named_with_the_number_of_tries(pauses):
    storage = Storage(100)
    with pytest.raises(tf.errors.UnavailableError) as caught:
        retries.call(PATH, storage.read)
    assert storage.num_calls == 6
    assert sum(pauses) <= 31
    assert caught.value.message.startswith(f"{PATH}: all 6 tries failed.")
    assert caught.value.message.endswith("503: try again")


@pytest.mark.parametrize(
    "error",
    [tf.errors.NotFoundError, tf.errors.PermissionDeniedError],
)
def test_other_errors_are_raised_at_once(pauses, error):
    storage = Storage(1, error)
    with pytest.raises(error):
        retries.call(PATH, storage.read)
    assert (storage.num_calls, pauses) == (1, [])


def test_a_local_path_has_one_try(pauses):
    storage = Storage(1, tf.errors.ResourceExhaustedError)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        retries.call("/run/manifest.json", storage.read)
    assert (storage.num_calls, pauses) == (1, [])


def test_errors_of_a_network_pass_and_those_of_files_do_not():
    assert retries.is_passing(
        tf.errors.UnavailableError(None, None, "no route")
    )
    for error in (
        OSError("damaged"),
        tf.errors.FailedPreconditionError(None, None, "a directory"),
    ):
        assert not retries.is_passing(error)
