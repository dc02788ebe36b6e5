"""What is read of each of several runs to set them beside each other."""

import dataclasses
from collections.abc import Sequence

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.evaluation import results
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.report import run_sections

SPLITS = ("test", "validation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run, as far as it is.

    Attributes:
        name: What it is called beside the others.
        workdir: Its folders.
        config: Its configuration.
        class_names: Of its labeled images.
        num_labeled: Training images with labels.
        rows: What `run_sections.read_results` returned; not empty.
        measured: Name -> folder of the models that are measured, in order.
        missing: Titles of the models that are not made yet.
        chosen: The model that stands for the run: the exported one, or else
            the last one.
    """

    name: str
    workdir: workdirs.Workdir
    config: configs.Config
    class_names: tuple[str, ...]
    num_labeled: int
    rows: tuple[results.Row, ...]
    measured: dict[str, str]
    missing: tuple[str, ...]
    chosen: str

    def held_out(self, model: str, split: str) -> str:
        """Return the file of what a model says of held-out images; or empty."""
        if model not in self.measured:
            return ""
        folder = self.workdir.folder(self.measured[model])
        path = held_out.path(folder, split)
        return path if files.exists(path) else ""

    def row(self, split: str, model: str = "") -> results.Row | None:
        """Return a model's first row of a split; empty: the chosen one's."""
        for row in self.rows:
            if (row["model"], row["split"]) == (model or self.chosen, split):
                return row
        return None


def read_all(paths: Sequence[str]) -> list[Run]:
    """Read runs, each once.

    Raises:
        FileNotFoundError: A path is no run, or none of its models is finished.
        ValueError: There are fewer than two, or one is named twice.
    """
    roots = [workdirs.named(path).root.rstrip("/") for path in paths]
    if len(roots) < 2:
        raise ValueError(
            f"{', '.join(roots) or 'No run'} is named: two or more directories "
            "of runs are compared, such as runs/mine runs/mine_2."
        )
    for root in roots:
        if roots.count(root) > 1:
            raise ValueError(f"{root} is named twice: name each run once.")
    return [read(*pair) for pair in zip(roots, _names(roots), strict=True)]


def _names(roots: Sequence[str]) -> list[str]:
    """Return the shortest ends of different paths that tell them apart."""
    parts = [root.split("/") for root in roots]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(roots)


def read(root: str, name: str) -> Run:
    """Read a run.

    Args:
        root: Its directory.
        name: What it is called beside others.

    Raises:
        FileNotFoundError: It is no run, or none of its models is finished.
        ValueError: Its configuration is of another version.
    """
    workdir = workdirs.Workdir(root)
    if not files.exists(workdir.config):
        raise FileNotFoundError(
            f"{root} is no run: it holds no config.json. Name the --workdir of "
            "runs."
        )
    config = _read_config(workdir)
    rows = run_sections.read_results(workdir)
    recipe = recipes.of(config)
    measured = {row["model"] for row in rows}
    made = [each for each in recipe.models if each.name in measured]
    if not made or not shards.is_finished(workdir.labeled):
        raise FileNotFoundError(
            f"{root}: no model of this run is measured yet, so that there is "
            "nothing to compare. Go on with it: python -m "
            f"run_scripts.noisy_student --workdir={root}"
        )
    manifest = shards.read_manifest(workdir.labeled)
    return Run(
        name=name,
        workdir=workdir,
        config=config,
        class_names=tuple(manifest["class_names"]),
        num_labeled=manifest["splits"]["train"]["num_records"],
        rows=tuple(rows),
        measured={each.name: each.folder for each in made},
        missing=tuple(
            each.title for each in recipe.models if each.name not in measured
        ),
        chosen=_chosen(workdir, recipe, made),
    )


def _read_config(workdir: workdirs.Workdir) -> configs.Config:
    try:
        return workdirs.read_config(workdir)
    except ValueError as error:
        raise ValueError(
            f"{workdir.config}: {error} The run is of another version; compare "
            "it with that one's code, or leave it out."
        ) from error


def _chosen(
    workdir: workdirs.Workdir,
    recipe: recipes.Recipe,
    made: Sequence[recipes.Model],
) -> str:
    """Return the model that stands for a run."""
    if shards.is_finished(workdir.export):
        exported = shards.read_manifest(workdir.export)["model"]
        if exported in [each.name for each in made]:
            return exported
    candidates = [each for each in made if each in recipe.candidates]
    return (candidates or made)[-1].name


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the fields in which configurations differ, with all values."""
    flat = [dict(config_tree.flatten(run.config)) for run in runs]
    return [
        (name, [run_sections.show_value(values[name]) for values in flat])
        for name in flat[0]
        if any(values[name] != flat[0][name] for values in flat)
    ]


def labeled_rows(run: Run) -> list[results.Row]:
    """Return the rows of a run, with its name in their titles."""
    return [row | {"title": f"{run.name}: {row['title']}"} for row in run.rows]
