"""Damaged files of every format, sent through builder, scripts and export."""

import json
import subprocess
import sys

# Of each of 14 kinds: 2,002 in all.
_NUM_DAMAGED = 143
# TensorFlow alone is half of one.
_MAX_GIB = 1.5
_MAX_SECONDS = 5


def test_damaged_files_end_in_no_crash_and_cost_little():
    finished = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_pictures", f"{_NUM_DAMAGED}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["num_files"] >= 2000
    # Some damage leaves a picture, and most does not.
    assert 100 < found["num_pictures"] < 1900
    assert found["peak_gib"] < _MAX_GIB
    assert found["slowest_seconds"] < _MAX_SECONDS
