"""What models begin with: nothing, imported weights, or another's averages."""

from collections.abc import Callable

from noisy_student_tf import configs
from noisy_student_tf.model import efficientnet, heads, saved, specs


def check(config: configs.Config) -> None:
    """Check the given models before anything is built.

    Raises:
        FileNotFoundError: There is no model in a directory that is named.
        ValueError: A model does not fit what is to begin with it, or nothing
            begins with it.
    """
    given = config.self_training.teacher_directory
    teacher = saved.load_spec(given) if given else None
    initial = config.model.initial_weights
    students_from = config.self_training.initialize_students_from
    flag = f"--self_training.initialize_students_from={students_from}"
    if students_from == "initial_weights" and not initial:
        raise ValueError(
            f"{flag}: name the model with --model.initial_weights=DIR."
        )
    if initial:
        if teacher and students_from != "initial_weights":
            raise ValueError(
                f"--model.initial_weights={initial}: nothing begins with it, "
                f"because --self_training.teacher_directory={given} gives a "
                "trained teacher. Leave one out, or add "
                "--self_training.initialize_students_from=initial_weights."
            )
        source = saved.load_spec(initial)
        named = f"--model.initial_weights={initial}"
        if not teacher:
            teacher_model = config.teacher_model
            heads.check_same_body(_like(teacher_model), source, flag=named)
        if students_from == "initial_weights":
            heads.check_same_body(_like(config.model), source, flag=named)
    if students_from == "teacher":
        teacher = teacher or _like(config.teacher_model)
        heads.check_same_body(_like(config.model), teacher, flag=flag)


def _like(model: configs.ModelConfig) -> specs.ModelSpec:
    """Return a specification; classes do not matter here."""
    return specs.from_config(model, num_classes=1, class_names=())


def load(
    directory: str, spec: specs.ModelSpec
) -> Callable[[efficientnet.EfficientNet], None]:
    """Return a function that lets a model begin with another's averages.

    Args:
        directory: Of the other.
        spec: Of the model.

    Raises:
        FileNotFoundError: There is no model in the directory.
        ValueError: The two do not fit.
    """
    heads.check_same_body(
        spec,
        saved.load_spec(directory),
        flag=f"initial weights of {directory}",
    )
    source, _ = saved.load(directory)
    return lambda model: heads.copy_weights(model, source)
