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

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from data_prep.duplicates import duplicate_shards
from data_prep.shards import beam_shards
from noisy_student_tf import configs, files, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import duplicates, shards

FLAGS = flags.FLAGS

# Flag -> field of the configuration.
_FIELDS = {
    "max_bits": "near_duplicate_bits",
    "min_side": "near_duplicate_side",
    "deduplicate": "deduplicate",
}

_SCRATCH = "hashes"

# Path of a file to what writes it.
_Tasks = dict[str, Callable[[str], None]]


def find(
    *,
    unlabeled_directory: str,
    labeled_directory: str,
    directory: str,
    labeling: configs.LabelingConfig,
    beam: beam_shards.Beam = beam_shards.LOCAL,
) -> None:
    """Write which unlabeled images are left out; finished shards are skipped.

    What is in any split of the labeled directory must not be found again.

    Raises:
        FileNotFoundError: An input is missing or unfinished.
        ValueError: `directory` holds an unfinished search of something else.
    """
    made_from = _prepare(
        directory, unlabeled_directory, labeled_directory, labeling
    )
    labeled = _hash_tasks(labeled_directory, directory, labeling)
    unlabeled = _hash_tasks(unlabeled_directory, directory, labeling)
    num_images = sum(
        split["num_records"]
        for each in (labeled_directory, unlabeled_directory)
        for split in shards.read_manifest(each)["splits"].values()
    )
    title = "what images look like"
    _run({**labeled, **unlabeled}, beam, title, num_images)
    _compare([*unlabeled], [*labeled], directory, labeling, beam)
    _finish(directory, made_from, [*unlabeled])


def _compare(
    hash_paths: list[str],
    labeled_paths: list[str],
    directory: str,
    labeling: configs.LabelingConfig,
    beam: beam_shards.Beam,
) -> None:
    """Compare the hashes of each unlabeled shard with all others."""
    max_bits = labeling.near_duplicate_bits
    repeats: _Tasks = {}
    masks = duplicate_shards.repeat_masks(max_bits)
    for mask in masks if labeling.deduplicate else ():
        name = f"repeats-{mask:016x}.parquet"
        repeats[files.join(directory, _SCRATCH, name)] = functools.partial(
            duplicate_shards.write_repeats,
            hash_paths=hash_paths,
            mask=mask,
            max_bits=max_bits,
        )
    _run(repeats, beam, "images that look alike")
    repeat_paths = [*repeats]
    matches: _Tasks = {}
    for index in range(len(hash_paths)):
        name = duplicates.file_name(index, len(hash_paths))
        matches[files.join(directory, name)] = functools.partial(
            duplicate_shards.write_matches,
            index=index,
            hash_paths=hash_paths,
            labeled_paths=labeled_paths,
            repeat_paths=repeat_paths,
            max_bits=max_bits,
        )
    _run(matches, beam, "images that look like held-out ones")


def _run(
    tasks: _Tasks, beam: beam_shards.Beam, title: str, num_images: int = 0
) -> None:
    """Write the files that are not there."""
    unfinished = [task for task in tasks.items() if not files.exists(task[0])]
    beam_shards.run(
        unfinished, _write, beam, title=title, num_images=num_images
    )


def _write(task: tuple[str, Callable[[str], None]]) -> None:
    path, write = task
    write(path)


def _prepare(
    directory: str,
    unlabeled_directory: str,
    labeled_directory: str,
    labeling: configs.LabelingConfig,
) -> dict[str, Any]:
    """Make the directory ready, and return what the result depends on."""
    made_from = {
        "unlabeled_fingerprint": shards.manifest_fingerprint(
            unlabeled_directory
        ),
        "labeled_fingerprint": shards.manifest_fingerprint(labeled_directory),
        "max_bits": labeling.near_duplicate_bits,
        "min_side": labeling.near_duplicate_side,
        "deduplicate": labeling.deduplicate,
    }
    files.make_directories(directory)
    files.remove_temporaries(directory)
    path = files.join(directory, "search.json")
    if files.exists(path) and files.read_json(path) != made_from:
        raise ValueError(
            f"{directory} holds a search with another setting or of other "
            f"images: {files.read_json(path)}, not {made_from}. Remove it."
        )
    files.write_json(path, made_from)
    files.make_directories(files.join(directory, _SCRATCH))
    return made_from


def _hash_tasks(
    images_directory: str, directory: str, labeling: configs.LabelingConfig
) -> _Tasks:
    """Return what writes the hashes of each shard of all splits."""
    tasks: _Tasks = {}
    for split in sorted(shards.read_manifest(images_directory)["splits"]):
        paths = shards.open_split(images_directory, split).paths
        for index, path in enumerate(paths):
            name = shards.index_name(split, index, len(paths))
            tasks[files.join(directory, _SCRATCH, name)] = functools.partial(
                duplicate_shards.write_hashes,
                records_path=path,
                index_path=files.join(images_directory, name),
                split=split,
                shard=index,
                min_side=labeling.near_duplicate_side,
            )
    return tasks


def _finish(
    directory: str, made_from: dict[str, Any], hash_paths: Sequence[str]
) -> None:
    """Count, say what was found, and write the manifest."""
    count = len(hash_paths)
    num_left_out = collections.Counter(
        each.kept_split
        for index in range(count)
        for each in duplicates.read(directory, index, count)
    )
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
        dict(num_left_out) or "none",
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
    for name, text in (
        ("labeled_dir", "What build_labeled wrote."),
        ("unlabeled_dir", "What build_unlabeled wrote; searched."),
        ("output_dir", "Where the result appears."),
    ):
        config_tree.DEFINE_path(name, None, text, required=True, values=values)
    config_tree.define_fields(configs.LabelingConfig(), _FIELDS, values)
    flags.register_validator(
        "max_bits",
        lambda bits: bits >= 0,
        "There is no search at -1; accepted is 0 ... 8.",
        flag_values=values,
    )
    config_tree.define_fields(
        configs.DataConfig(), {"runner": "beam_runner"}, values
    )


def main(argv: list[str]) -> None:
    """Search; what follows a bare `--` is for the Beam runner."""
    logging.set_verbosity(logging.INFO)
    if shards.is_finished(FLAGS.output_dir):
        logging.info("%s is finished.", FLAGS.output_dir)
        return
    find(
        unlabeled_directory=FLAGS.unlabeled_dir,
        labeled_directory=FLAGS.labeled_dir,
        directory=FLAGS.output_dir,
        labeling=config_tree.replace_fields(
            configs.LabelingConfig(), _FIELDS, FLAGS
        ),
        beam=beam_shards.Beam(FLAGS.runner, argv[1:]),
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
