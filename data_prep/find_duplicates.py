"""Find unlabeled images that look like labeled or held-out ones.

A benchmark's test images lie on the web, and so among unlabeled images: a
student that learns from them is tested on what it has seen. Identical files
are left out when the unlabeled shards are built; here those are found that
were scaled, recompressed or slightly edited, by their perceptual hashes, and
left out of what the teacher labels.

    python -m data_prep.find_duplicates --labeled_dir=runs/birds/labeled \\
        --unlabeled_dir=runs/birds/unlabeled \\
        --output_dir=runs/birds/duplicates

Options of the Beam runner follow a bare `--`.
"""

from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from data_prep.duplicates import duplicate_shards
from data_prep.shards import beam_shards
from noisy_student_tf import configs, files
from noisy_student_tf.records import duplicates, shards

FLAGS = flags.FLAGS

_SCRATCH = "hashes"


def find(
    *,
    unlabeled_directory: str,
    labeled_directory: str,
    directory: str,
    labeling: configs.LabelingConfig,
    beam_runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Write which unlabeled images are left out; finished shards are skipped.

    Args:
        unlabeled_directory: What is searched.
        labeled_directory: What must not be found; all its splits.
        directory: Where the result appears.
        labeling: How near is too near.
        beam_runner: Apache Beam runner.
        beam_options: Further options of the runner.

    Raises:
        FileNotFoundError: An input is missing or unfinished.
        ValueError: `directory` holds an unfinished search of something else.
    """
    made_from = _made_from(unlabeled_directory, labeled_directory, labeling)
    _prepare(directory, made_from)
    scratch = files.join(directory, _SCRATCH)
    files.make_directories(scratch)
    unlabeled = _hash_tasks(
        unlabeled_directory, [duplicates.UNLABELED], scratch, labeling
    )
    splits = sorted(shards.read_manifest(labeled_directory)["splits"])
    labeled = _hash_tasks(labeled_directory, splits, scratch, labeling)

    def run(tasks: Sequence[Any], function: Any) -> None:
        unfinished = [task for task in tasks if not files.exists(task.output)]
        beam_shards.run(
            unfinished, function, runner=beam_runner, beam_options=beam_options
        )

    run([*labeled, *unlabeled], duplicate_shards.write_hashes)
    hash_paths = [task.output for task in unlabeled]
    repeats: list[duplicate_shards.RepeatTask] = []
    if labeling.deduplicate:
        repeats = duplicate_shards.plan_repeats(
            hash_paths, scratch, max_bits=labeling.near_duplicate_bits
        )
        run(repeats, duplicate_shards.write_repeats)
    tasks = _match_tasks(
        directory,
        hash_paths,
        [task.output for task in labeled],
        [task.output for task in repeats],
        labeling.near_duplicate_bits,
    )
    run(tasks, duplicate_shards.write_matches)
    _finish(directory, made_from, hash_paths)


def _match_tasks(
    directory: str,
    hash_paths: Sequence[str],
    labeled_paths: Sequence[str],
    repeat_paths: Sequence[str],
    max_bits: int,
) -> list[duplicate_shards.MatchTask]:
    count = len(hash_paths)
    return [
        duplicate_shards.MatchTask(
            index=index,
            hash_paths=tuple(hash_paths),
            labeled_paths=tuple(labeled_paths),
            repeat_paths=tuple(repeat_paths),
            max_bits=max_bits,
            output=files.join(directory, duplicates.file_name(index, count)),
        )
        for index in range(count)
    ]


def _made_from(
    unlabeled_directory: str,
    labeled_directory: str,
    labeling: configs.LabelingConfig,
) -> dict[str, Any]:
    def fingerprint(directory: str) -> str:
        shards.read_manifest(directory)
        return shards.fingerprint(files.join(directory, shards.MANIFEST))

    return {
        "unlabeled_fingerprint": fingerprint(unlabeled_directory),
        "labeled_fingerprint": fingerprint(labeled_directory),
        "max_bits": labeling.near_duplicate_bits,
        "min_side": labeling.near_duplicate_side,
        "deduplicate": labeling.deduplicate,
    }


def _prepare(directory: str, made_from: dict[str, Any]) -> None:
    files.make_directories(directory)
    files.remove_temporaries(directory)
    path = files.join(directory, "search.json")
    if files.exists(path) and files.read_json(path) != made_from:
        raise ValueError(
            f"{directory} holds a search with another setting or of other "
            f"images: {files.read_json(path)}, not {made_from}. Remove it."
        )
    files.write_json(path, made_from)


def _hash_tasks(
    directory: str,
    splits: Sequence[str],
    scratch: str,
    labeling: configs.LabelingConfig,
) -> list[duplicate_shards.HashTask]:
    tasks = []
    for split in splits:
        paths = shards.open_split(directory, split).paths
        tasks += [
            duplicate_shards.HashTask(
                records_path=path,
                index_path=files.join(
                    directory, shards.index_name(split, index, len(paths))
                ),
                split=split,
                shard=index,
                min_side=labeling.near_duplicate_side,
                output=files.join(
                    scratch, shards.index_name(split, index, len(paths))
                ),
            )
            for index, path in enumerate(paths)
        ]
    return tasks


def _finish(
    directory: str, made_from: dict[str, Any], hash_paths: Sequence[str]
) -> None:
    """Count, say what was found, and write the manifest."""
    count = len(hash_paths)
    num_left_out: dict[str, int] = {}
    for index in range(count):
        for each in duplicates.read(directory, index, count):
            split = each.kept_split
            num_left_out[split] = num_left_out.get(split, 0) + 1
    sizes = [duplicate_shards.count_hashes(path) for path in hash_paths]
    num_images = sum(size for size, _ in sizes)
    num_hashed = sum(hashed for _, hashed in sizes)
    logging.info(
        "%d of %d unlabeled images were compared by perceptual hash (the "
        "others are smaller than %d pixels, without contrast or unreadable); "
        "near duplicates are left out, by what they repeat: %s.",
        num_hashed,
        num_images,
        made_from["min_side"],
        num_left_out or "none",
    )
    # Hundreds of millions of rows that nobody reads again.
    files.remove(files.join(directory, _SCRATCH))
    shards.write_manifest(
        directory,
        {
            **made_from,
            "num_images": num_images,
            "num_hashed": num_hashed,
            "num_left_out": num_left_out,
            "shards": [duplicates.file_name(i, count) for i in range(count)],
        },
    )


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    default = configs.LabelingConfig()
    for name, text in (
        ("labeled_dir", "What build_labeled wrote."),
        ("unlabeled_dir", "What build_unlabeled wrote; searched."),
        ("output_dir", "Where the result appears."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer(
        "max_bits",
        default.near_duplicate_bits,
        "Greatest distance of two hashes of 64 bits, 0 ... 8.",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "min_side",
        default.near_duplicate_side,
        "Shortest side in pixels that is hashed.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "deduplicate",
        False,
        "Keep one of several near-duplicate unlabeled images, too.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "runner", "DirectRunner", "Apache Beam runner.", flag_values=values
    )
    flags.mark_flags_as_required(
        ["labeled_dir", "unlabeled_dir", "output_dir"], flag_values=values
    )


def main(argv: Sequence[str]) -> None:
    """Search; what follows a bare `--` is for the Beam runner."""
    logging.set_verbosity(logging.INFO)
    if shards.is_finished(FLAGS.output_dir):
        print(f"{FLAGS.output_dir} is finished.")
        return
    find(
        unlabeled_directory=FLAGS.unlabeled_dir,
        labeled_directory=FLAGS.labeled_dir,
        directory=FLAGS.output_dir,
        labeling=configs.LabelingConfig(
            near_duplicate_bits=FLAGS.max_bits,
            near_duplicate_side=FLAGS.min_side,
            deduplicate=FLAGS.deduplicate,
        ),
        beam_runner=FLAGS.runner,
        beam_options=argv[1:],
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
