"""A tiny run in a process of its own: started, followed, killed, compared.

The processes are forked from one that has imported everything and done
nothing, which saves the seconds of an import at every start.
"""

import multiprocessing
import multiprocessing.process
import os
import pathlib
import sys
import time
from collections.abc import Callable

from run_scripts import noisy_student

STAGES = (
    "labeled",
    "unlabeled",
    "teacher",
    "predictions_1",
    "selection_1",
    "pseudo_labeled_1",
    "student_1",
    "fixres",
    "export",
)
# A line for every step.
_FLAGS = ("--preset=tiny", "--training.steps_per_loop=1")
_POLL_SECONDS = 0.01
_CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_processes = multiprocessing.get_context("forkserver")
Process = multiprocessing.process.BaseProcess


def prepare(*modules: str) -> None:
    """Say what the process that others are forked from imports, beside us."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    _processes.set_forkserver_preload([__name__, *modules])


def start(root: pathlib.Path) -> Process:
    """Start the command of a run, or the same command again."""
    return start_function(_run, root, log=root.with_suffix(".log"))


def start_function(
    function: Callable[..., None], *arguments: object, log: pathlib.Path
) -> Process:
    """Start a function of a module; what it prints is added to a file."""
    process = _processes.Process(target=_call, args=(log, function, *arguments))
    process.start()
    return process


def _call(
    log: pathlib.Path, function: Callable[..., None], *arguments: object
) -> None:
    written = os.open(log, os.O_CREAT | os.O_WRONLY)
    os.lseek(written, 0, os.SEEK_END)
    for stream in (1, 2):
        os.dup2(written, stream)
    function(*arguments)


def _run(root: pathlib.Path) -> None:
    sys.argv = ["noisy_student", *_FLAGS, f"--workdir={root}"]
    noisy_student.console_entry()


def finish(root: pathlib.Path) -> None:
    """Run to the end.

    Raises:
        RuntimeError: It ended with an error.
    """
    process = start(root)
    process.join()
    check_ended_well(process, root)


def check_ended_well(process: Process, root: pathlib.Path) -> None:
    """Raise what a run's exit code says, if it is an error."""
    if process.exitcode:
        raise RuntimeError(
            f"The run in {root} ended with {process.exitcode}; see "
            f"{root.with_suffix('.log')}."
        )


def follow(process: Process, look: Callable[[float], bool]) -> None:
    """Call a function of the processor's seconds until it is true.

    Seconds of the processor do not pass while other work holds it.
    """
    while process.is_alive():
        seconds = _processor_seconds(process)
        if seconds is not None and look(seconds):
            return
        time.sleep(_POLL_SECONDS)


def _processor_seconds(process: Process) -> float | None:
    """Return the processor's seconds that all threads took, or None."""
    try:
        text = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return None
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _CLOCK_TICKS_PER_SECOND


def finished_stages(root: pathlib.Path) -> list[str]:
    """Return the stages that have their manifest, in order."""
    return [name for name in STAGES if (root / name / "manifest.json").exists()]
