"""Run a table of a study; write its records, and all tables of its document.

Each run has a folder, `--workdir`/ARM/seed_N. What is kept of it, without
weights, goes to `--records`; tables and plots of all records are written into
`--document`. The same command goes on with a killed study.

    python -m study --name=main --workdir=runs/study
    python -m study --name=solar_cells --workdir=runs/solar_cells
"""

from collections.abc import Iterator

from absl import flags

from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import runtime
from noisy_student_tf.planning import dry_run
from run_scripts import flags as config_flags
from study import catalog, runner, studies


def define_flags() -> None:
    """Define what runs, and where it goes."""
    names = ", ".join(study.name for study in catalog.STUDIES)
    flags.DEFINE_list(
        "name",
        ["main"],
        f"Tables to run, among {names}; or all of fashion_mnist or "
        "solar_cells.",
    )
    config_tree.DEFINE_path("workdir", None, "Where the runs go.")
    flags.DEFINE_list("seeds", [], "Seeds to run; by default the table's own.")
    flags.DEFINE_list(
        "arms", [], "Arms of the one table to run; by default all of them."
    )
    config_tree.DEFINE_path(
        "records", None, "Records of all runs. By default beside the document."
    )
    config_tree.DEFINE_path(
        "document",
        None,
        "Whose tables and plots are rewritten. By default docs/study.md, or of "
        "other images theirs.",
    )
    flags.DEFINE_boolean(
        "robustness",
        True,
        "Measure the models of main tables under corruptions and attacks. "
        "--norobustness puts it off: the same command without it adds it.",
    )
    config_tree.DEFINE_path(
        "semilearn_python",
        ".peers/semilearn/bin/python",
        "Python of the environment in which FixMatch is found; "
        "`bash benchmarks/peer_environments.sh .peers semilearn` makes it.",
    )
    flags.DEFINE_boolean(
        "dry_run", False, "Print the runs with their estimated time, and stop."
    )
    flags.DEFINE_boolean(
        "tables_only",
        False,
        "Record what is finished in --workdir, if it is given, write the "
        "tables of all records, and stop.",
    )


def main(_: list[str]) -> None:
    """Run, or describe, the tables that `--name` names."""
    values = flags.FLAGS
    chosen = catalog.of_names(values.name)
    experiment = chosen[0].experiment
    records = values.records or experiment.records
    document = values.document or experiment.document
    if not values.tables_only:
        config_flags.require("workdir", "runs/study")
    if values.dry_run:
        first = next(_jobs(chosen[0]))
        rate = dry_run.measure_rate(first.config.model)
        for study in chosen:
            print(
                runner.describe(
                    _jobs(study), records, multiply_adds_per_second=rate
                )
            )
        return
    runtime.set_up_logging()
    for study in chosen:
        if not values.tables_only:
            runner.run(_jobs(study), records)
        elif values.workdir:
            runner.record_begun(_jobs(study), records)
    catalog.rewrite(experiment, document, records)
    print(f"tables: {document}")


def _jobs(study: studies.Study) -> Iterator[runner.Job]:
    values = flags.FLAGS
    return runner.jobs_of(
        study,
        seeds=list(map(int, values.seeds)) or study.seeds,
        root=(values.workdir or "").rstrip("/"),
        arms=values.arms,
        robustness=values.robustness and not values.tables_only,
        semilearn_python=values.semilearn_python,
    )


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
