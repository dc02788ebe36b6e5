"""Say what people decided of a run's images; bring tables in, and write them.

Reads the decisions of `run_scripts.review` in `--corrections`, files of several
people among them, and says what holds, where people differ, and what is not of
this run.

    python -m run_scripts.corrections --workdir=runs/mine
    python -m run_scripts.corrections --workdir=runs/mine \\
        --corrections=ann.jsonl,bob.jsonl --export_to=answers.csv

`--import_from` appends what a CSV file or Label Studio's JSON export says, and
may be given again: what was said before is not said twice.
"""

from absl import flags

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import corrections, shards
from noisy_student_tf.review import exchange, summaries
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path(
        "workdir", None, "Directory of the run.", required=True
    )
    config_flags.define_corrections_flags()
    config_tree.DEFINE_path(
        "import_from",
        "",
        "CSV file, or Label Studio's JSON export: its answers are appended to "
        "--corrections.",
    )
    flags.DEFINE_string(
        "none_name",
        exchange.NONE_NAME,
        "What stands in --import_from for an image of none of the classes.",
    )
    config_tree.DEFINE_path("export_to", "", "CSV file of what holds.")


def main(_: list[str]) -> None:
    """Import, say what holds, and export."""
    workdir = workdirs.named(flags.FLAGS.workdir)
    class_names = shards.read_manifest(workdir.labeled)["class_names"]
    if flags.FLAGS.import_from:
        _import(workdir, class_names)
    said = []
    for path in config_flags.corrections_paths(workdir):
        read = corrections.read(path)
        said += read.corrections
        print(summaries.describe_file(path, read))
    summary = summaries.summarize(said, workdir, class_names)
    print(summaries.describe(summary))
    if flags.FLAGS.export_to:
        table = exchange.to_csv(summary.merged, summary.found)
        files.write_text(flags.FLAGS.export_to, table)
        print(f"table: {flags.FLAGS.export_to}")


def _import(workdir: workdirs.Workdir, class_names: list[str]) -> None:
    """Append what a table says to the only file of decisions.

    Raises:
        ValueError: There are several files.
    """
    (path, *others) = config_flags.corrections_paths(workdir)
    if others:
        raise ValueError(
            f"--corrections={path},{','.join(others)}: --import_from appends "
            "to one file; name it alone."
        )
    source = flags.FLAGS.import_from
    answers = exchange.read_answers(source, none_name=flags.FLAGS.none_name)
    known = corrections.read(path).corrections if files.exists(path) else []
    taken = exchange.take(
        answers,
        workdir,
        class_names=class_names,
        known=known,
        who=config_flags.person(),
    )
    corrections.append(path, taken.corrections)
    print(summaries.describe_taken(source, path, taken))


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
