import os
import subprocess
import sys

from run_scripts import help_text, noisy_student, train
from tests.run_scripts import scripts


def test_every_section_is_there_the_method_first():
    with scripts.parsed_flags(noisy_student.define_flags):
        text = help_text.describe("What it does.")
    titles = [f"{title}:" for title in help_text.GROUPS.values()]
    places = [text.index(f"\n{title}\n") for title in titles]
    assert text.startswith("What it does.")
    assert places == sorted(places)


def test_choices_stand_beside_the_flag_and_once():
    with scripts.parsed_flags(train.define_flags):
        text = help_text.describe("")
    assert "--loss.pseudo_labels=soft|hard\n      The teacher's" in text
    assert "--model.recompute\n" in text
    assert "--iteration=VALUE" in text


def test_help_and_a_finished_run_are_shown_without_tensorflow():
    script = (
        "import sys\n"
        "from run_scripts import flags, noisy_student\n"
        "sys.argv = ['noisy_student', '--help']\n"
        "noisy_student.console_entry()\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert finished.returncode == 0, finished.stderr
    assert "--self_training.num_iterations" in finished.stdout
