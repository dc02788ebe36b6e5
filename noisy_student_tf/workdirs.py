"""The folders of one run, and the check that a run goes on as it began."""

import dataclasses

from noisy_student_tf import configs, files, recipes
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards

_PATTERN_CHARACTERS = "[]*?"


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Where the stages of one run read and write.

    Attributes:
        root: The directory of the run, local or remote.
    """

    root: str

    def folder(self, name: str) -> str:
        """Return the folder of a stage."""
        return files.join(self.root, name)

    @property
    def config(self) -> str:
        """The resolved configuration, written before anything is built."""
        return self.folder("config.json")

    @property
    def labeled(self) -> str:
        """Shards of the splits train, validation and test."""
        return self.folder("labeled")

    @property
    def unlabeled(self) -> str:
        """Shards of the unlabeled images."""
        return self.folder("unlabeled")

    @property
    def teacher(self) -> str:
        """The first teacher, trained on labeled images."""
        return self.folder("teacher")

    def predictions(self, iteration: int) -> str:
        """Return what the student's teacher predicts."""
        return self.folder(f"predictions_{iteration}")

    def selection(self, iteration: int) -> str:
        """Return which images the student learns from."""
        return self.folder(f"selection_{iteration}")

    def pseudo_labeled(self, iteration: int) -> str:
        """Return the student's pseudo-labeled shards."""
        return self.folder(f"pseudo_labeled_{iteration}")

    @property
    def duplicates(self) -> str:
        """Return which unlabeled images are left out, and why."""
        return self.folder("duplicates")

    @property
    def folds(self) -> str:
        """Teachers that each judge a fold of the labeled images."""
        return self.folder("folds")

    @property
    def robustness(self) -> str:
        """Corrupted images and sequences, and what was measured on them."""
        return self.folder("robustness")

    @property
    def robustness_sets(self) -> str:
        """The corrupted images and sequences alone."""
        return files.join(self.robustness, "sets")

    @property
    def export(self) -> str:
        """What is served, with its manifest."""
        return self.folder("export")

    @property
    def saved_model(self) -> str:
        """The exported classifier."""
        return self.exported("saved_model")

    def exported(self, format: str) -> str:
        """Return the folder of the classifier in one of its formats."""
        return files.join(self.export, format)

    @property
    def review(self) -> str:
        """What people are asked about the run."""
        return self.folder("review")

    @property
    def corrections(self) -> str:
        """What people said."""
        return self.folder("corrections.jsonl")

    @property
    def results(self) -> str:
        """All accuracies."""
        return self.folder("results.json")

    @property
    def report(self) -> str:
        """The page of the run."""
        return self.folder("report.html")


def named(path: str) -> Workdir:
    """Return the workdir that a user named; `~` is the home directory.

    Raises:
        ValueError: TensorFlow would take the name for a pattern.
    """
    if any(each in path for each in _PATTERN_CHARACTERS):
        other = "".join(
            "_" if each in _PATTERN_CHARACTERS else each for each in path
        )
        raise ValueError(
            f"--workdir={path}: TensorFlow takes {_PATTERN_CHARACTERS} for "
            "patterns, and could not read the exported classifier in a folder "
            f"of this name. Name another, such as --workdir={other!r}."
        )
    return Workdir(files.expand_home(path))


def is_finished(config: configs.Config, workdir: Workdir) -> bool:
    """Tell whether a run has made all that lasts: models, export, results."""
    lasting = [
        stage.folder
        for stage in recipes.of(config).stages
        if stage.kind in ("model", "folds", "export", "robustness")
    ]
    return all(map(files.exists, (workdir.results, workdir.report))) and all(
        shards.is_finished(workdir.folder(folder)) for folder in lasting
    )


def check_config(config: configs.Config, workdir: Workdir) -> None:
    """Check a configuration against the one that a run was begun with.

    A run that has made nothing yet, since a path was wrong, may have another.

    Raises:
        ValueError: The directory was made with another configuration; the
            differing fields are listed.
    """
    differences = _differences(config, workdir)
    if differences and _holds_work(workdir):
        listed = "\n  ".join(differences)
        raise ValueError(
            f"--workdir={workdir.root} was made with another configuration:"
            f"\n  {listed}\nGive the former values or another --workdir, or "
            f"remove {workdir.root} to begin anew."
        )


def _differences(config: configs.Config, workdir: Workdir) -> list[str]:
    """Return a line for each field that the run was begun otherwise with."""
    if not files.exists(workdir.config):
        return []
    # Earlier results do not depend on what may change when a run goes on.
    free = config_tree.fields_affecting("nothing", "rounding")
    return [
        line
        for line in config_tree.differences(read_config(workdir), config)
        if line.split(":")[0] not in free
    ]


def _holds_work(workdir: Workdir) -> bool:
    """Tell whether there is more than a configuration and empty folders."""
    paths = (
        files.join(workdir.root, name)
        for name in files.list_directory(workdir.root)
    )
    return any(
        not files.is_directory(path) or files.list_directory(path)
        for path in paths
        if path != workdir.config
    )


def write_config(config: configs.Config, workdir: Workdir) -> None:
    """Write a configuration that `check_config` accepted, unless it is there.

    Raises:
        OSError: The directory cannot be written.
    """
    if files.exists(workdir.config) and not _differences(config, workdir):
        return
    try:
        files.make_directories(workdir.root)
        files.write_text(workdir.config, config_tree.to_json(config))
    except files.errors() as error:
        raise OSError(
            f"--workdir={workdir.root}: it cannot be written ({error}). Name "
            "a directory that can, local or remote."
        ) from error


def read_config(workdir: Workdir) -> configs.Config:
    """Read the configuration of a run.

    Raises:
        FileNotFoundError: There is none.
    """
    if not files.exists(workdir.config):
        raise FileNotFoundError(
            f"--workdir={workdir.root} holds no config.json. Name the "
            "directory of a run, or begin one with --preset."
        )
    return config_tree.from_json(files.read_text(workdir.config))
