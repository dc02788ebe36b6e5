import subprocess
import sys

from run_scripts import write_requirements
from tests.report.compared import small_runs


def test_runs_are_compared_without_tensorflow(tmp_path):
    roots = [f"{tmp_path}/{name}" for name in ("one", "two")]
    for root in roots:
        small_runs.write(root, {"teacher": small_runs.RIGHT})
    page = tmp_path / "page.html"
    code = (
        "import sys\n"
        "from run_scripts import compare\n"
        "sys.argv = ['compare', *sys.argv[1:]]\n"
        "compare.define_flags()\n"
        "try:\n"
        "    compare.config_flags.run(compare.main, takes_arguments=True)\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, *roots, f"--output={page}"],
        cwd=write_requirements.ROOT,
        capture_output=True,
        text=True,
    )

    assert shown.returncode == 0, shown.stderr
    assert "two/teacher against one/teacher, 8 test images" in shown.stdout
    assert f"page: {page}" in shown.stdout
    assert "<h1>" in page.read_text()
