"""Which finished stages of one run are, to the bit, those of another.

Runs of a study differ in a few fields of their configuration, and a stage
depends on some fields only: the labels of two students may come from one
teacher. Such a stage is copied, its manifest last, and counts as finished.
"""

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards

# What was taken, and from where, in the folder of the run that took it.
SHARED = "shared.json"

# A finished model does not need them, and they are the larger part of it.
_LEFT_BEHIND = ("checkpoints", "tensorboard")

# Fields that a stage does not read; all others must agree. A name that ends
# with a dot is a whole section.
_MACHINE = tuple(config_tree.fields_affecting("nothing"))
_AFTER_TRAINING = ("fixres.", "evaluation.", "self_training.num_iterations")
# The architecture of a teacher is compared by itself: the students' fields
# describe it, too. This is no field, and stands for it among those that differ.
_TEACHERS_ARCHITECTURE = "teacher's architecture"
# The first predictions are of that teacher, clean: how a student learns from
# them does not matter.
_STUDENTS_ALONE = (
    "loss.pseudo_labels",
    "loss.temperature",
    "loss.weighting",
    "training.student_epochs",
    "training.unlabeled_ratio",
    "training.noise_unlabeled",
    "self_training.initialize_students_from",
    "self_training.teacher_name",
    "self_training.teacher_width",
    "self_training.teacher_depth",
    "self_training.teacher_resolution",
    "model.",
)
# A first teacher sees labeled images alone. A teacher that was given is
# another thing than one that is trained.
_TEACHER_ALONE = (
    *_STUDENTS_ALONE,
    "data.unlabeled",
    "labeling.",
    "selection.",
    "augmentation.unlabeled.",
    "self_training.selection_teacher_directory",
    "self_training.keep_selection",
    "self_training.online_teacher",
    "self_training.noised_teacher",
)


def shareable_stages(have: configs.Config, want: configs.Config) -> list[str]:
    """Return the folders of a run that are those of another run too.

    Args:
        have: Of the run that has them.
        want: Of the run that would make them again.

    Returns:
        Names of folders in a workdir, in the order of the stages. Whether
        they are finished is another question.
    """
    differing = {
        name
        for (name, first), (_, second) in zip(
            config_tree.flatten(have), config_tree.flatten(want), strict=True
        )
        if first != second and not _is_among(name, _MACHINE)
    }
    if have.teacher_model != want.teacher_model:
        differing.add(_TEACHERS_ARCHITECTURE)
    had = {stage.folder for stage in recipes.of(have).stages}
    return [
        stage.folder
        for stage in recipes.of(want).stages
        if stage.folder in had
        and (ignored := _ignored(stage, have)) is not None
        and all(_is_among(name, ignored) for name in differing)
    ]


def _ignored(
    stage: recipes.Stage, config: configs.Config
) -> tuple[str, ...] | None:
    """Return the fields that a stage does not read; None: it is not shared."""
    if stage.kind in ("labeled", "unlabeled"):
        # Data alone decide on shards; ids, not the seed, on the splits.
        others = tuple(
            name
            for name, _, _ in config_tree.fields()
            if not name.startswith("data.")
        )
        alone = ("data.unlabeled",) if stage.kind == "labeled" else ()
        return (*others, *alone, _TEACHERS_ARCHITECTURE)
    if stage.model:
        if stage.model.is_finetuned:
            return None
        is_teacher = stage.model.iteration == 0
        return _AFTER_TRAINING + (_TEACHER_ALONE if is_teacher else ())
    if not stage.labeling:
        return None
    if stage.labeling.iteration > 1:
        return _AFTER_TRAINING
    ignored: tuple[str, ...] = _AFTER_TRAINING + _STUDENTS_ALONE
    if not config.self_training.noised_teacher:
        # Only a noised teacher sees noised unlabeled images.
        ignored += ("augmentation.unlabeled.",)
    if stage.kind == "predictions":
        ignored += ("selection.",)
    return ignored


def _is_among(name: str, fields: tuple[str, ...]) -> bool:
    return any(
        name.startswith(field) if field.endswith(".") else name == field
        for field in fields
    )


def share(
    have: workdirs.Workdir, want: workdirs.Workdir, config: configs.Config
) -> list[str]:
    """Copy what another run has finished and this one would make again.

    Args:
        have: The folders of a run; it may be unfinished.
        want: The folders of the run that is to begin, or to go on.
        config: Of the latter.

    Returns:
        The stages that were copied.
    """
    if have.root == want.root or not files.exists(have.config):
        return []
    copied = []
    for stage in shareable_stages(workdirs.read_config(have), config):
        source = files.join(have.root, stage)
        destination = files.join(want.root, stage)
        if shards.is_finished(source) and not shards.is_finished(destination):
            _copy(source, destination)
            copied.append(stage)
    if copied:
        arm_and_seed = "/".join(have.root.rstrip("/").split("/")[-2:])
        files.write_json(
            files.join(want.root, SHARED),
            taken(want) | dict.fromkeys(copied, arm_and_seed),
        )
    return copied


def _copy(source: str, destination: str) -> None:
    """Copy a finished folder, the manifest last."""
    files.make_directories(destination)
    names = files.list_directory(source)
    # The manifest says that all else is there.
    for name in sorted(names, key=lambda name: name == shards.MANIFEST):
        if name in _LEFT_BEHIND:
            continue
        path = files.join(source, name)
        if files.is_directory(path):
            _copy(path, files.join(destination, name))
        else:
            files.copy(path, files.join(destination, name))


def taken(want: workdirs.Workdir) -> dict[str, str]:
    """Return stage -> the run that it was taken from."""
    path = files.join(want.root, SHARED)
    return files.read_json(path) if files.exists(path) else {}
