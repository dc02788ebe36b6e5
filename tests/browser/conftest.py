import shutil

import pytest

from noisy_student_tf import workdirs
from noisy_student_tf.report import run_page
from tests.report import synthetic_run


@pytest.fixture(scope="session")
def chromium():
    """Return the browser's path."""
    path = shutil.which("chromium")
    if not path:
        raise FileNotFoundError(
            "chromium is not installed. Debian: apt-get install chromium, "
            "or run .ci/run as root, which does so."
        )
    return path


@pytest.fixture(scope="session")
def report_path(tmp_path_factory):
    """Return the report of a synthetic run."""
    workdir = str(tmp_path_factory.mktemp("runs") / "digits")
    data = synthetic_run.write(workdir)
    synthetic_run.write_held_out(
        workdir,
        data.held_out_logits,
        data.held_out_labels,
        names=[f"digit {i}" for i in range(10)],
    )
    return run_page.write_report(workdirs.Workdir(workdir))
