"""What a run consists of: its models, their labels and all stages, as data.

A recipe is a function of the configuration alone. The run itself, the dry
run, the planner, the tables of results and whatever else goes through a run's
models or stages goes through this list.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from noisy_student_tf import configs

# Of the selection by a teacher that does not teach.
SELECTION_ONLY = 0
# The model that students are compared with, on request.
SUPERVISED = "supervised"

Kind = Literal[
    "labeled",
    "unlabeled",
    "duplicates",
    "model",
    "folds",
    "predictions",
    "selection",
    "pseudo_labeled",
    "export",
    "robustness",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One model of a run.

    Attributes:
        name: `teacher`, `student_1`, `student_1_fixres`: in tables and seeds.
        folder: In the run's directory.
        title: In the log.
        iteration: 0 for the first teacher, of a fine-tuned model its
            student's.
        architecture: With the resolution that it is trained at.
        epochs: Length of its training in labeled epochs.
        min_steps: Least length of its training.
        start: The model that it begins with: one of the run, or a directory;
            empty: none.
        adopted_from: Directory of a trained model that is taken as it is;
            empty: it is trained.
        predictions_from: Parquet of probabilities by image that stands in its
            place; empty: it is a network.
        labelings: The labels of what it learns from beside the labeled images,
            in the order of their making; the last ones are its own.
        online_teacher: The model that labels within each step; None: the
            labels are stored.
        is_finetuned: Whether it is FixRes': clean test crops, a constant
            rate, few variables.
        drawn_as: The model whose weights, order and noise it is drawn with;
            empty: its own.
    """

    name: str
    folder: str
    title: str
    iteration: int
    architecture: configs.ModelConfig
    epochs: float
    min_steps: int = 0
    start: "Model | str" = ""
    adopted_from: str = ""
    predictions_from: str = ""
    labelings: "tuple[Labeling, ...]" = ()
    online_teacher: "Model | None" = None
    is_finetuned: bool = False
    drawn_as: str = ""

    @property
    def teacher(self) -> "Model | None":
        """The model of the run that it learns from; None: there is none."""
        if not self.labelings:
            return None
        teacher = self.labelings[-1].teacher
        return teacher if isinstance(teacher, Model) else None

    @property
    def pseudo_labeled(self) -> str:
        """Folder of the pseudo-labeled images it learns from; empty: none."""
        return self.labelings[-1].pseudo_labeled if self.labelings else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labeling:
    """One teacher's labels of unlabeled images.

    Attributes:
        iteration: Of the student that learns from them; 0: they only select.
        teacher: A model of the run, or the directory of another.
        kept_from: The labeling whose selected images are labeled again; None:
            these labels select among all unlabeled images.
        leaves_out_duplicates: Whether near duplicates get no label.
    """

    iteration: int
    teacher: Model | str
    kept_from: "Labeling | None" = None
    leaves_out_duplicates: bool = False

    @property
    def is_given(self) -> bool:
        """Whether its probabilities are in a table already."""
        teacher = self.teacher
        return isinstance(teacher, Model) and bool(teacher.predictions_from)

    @property
    def predictions(self) -> str:
        """Folder of what the teacher predicts."""
        return f"predictions_{self.iteration}"

    @property
    def selection(self) -> str:
        """Folder of which images are kept; there is none where they are."""
        return f"selection_{self.iteration}"

    @property
    def pseudo_labeled(self) -> str:
        """Folder of the shards that a student reads."""
        return f"pseudo_labeled_{self.iteration}"

    @property
    def images(self) -> tuple[str, str]:
        """Folder and split of the images that are labeled."""
        if self.kept_from:
            return self.kept_from.pseudo_labeled, "pseudo_labeled"
        return "unlabeled", "unlabeled"


@dataclasses.dataclass(frozen=True)
class Stage:
    """What leaves one finished folder in a run's directory.

    Attributes:
        kind: What is done.
        folder: What it is left in.
        model: What a stage of kind `model` makes.
        labeling: Whose predictions, selection or shards are made.
    """

    kind: Kind
    folder: str
    model: Model | None = None
    labeling: Labeling | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run.

    Attributes:
        teacher: The first teacher.
        num_folds: Teachers like it that each judge a fold of the labeled
            images; 0: none.
        students: Each with its labels.
        supervised: What the last student would be without pseudo-labels, to
            compare it with, or None.
        finetuned: The last model at a higher resolution, or None.
        finds_duplicates: Whether near duplicates are looked for.
        measures_robustness: Whether robustness is measured.
    """

    teacher: Model
    num_folds: int
    students: tuple[Model, ...]
    supervised: Model | None
    finetuned: Model | None
    finds_duplicates: bool
    measures_robustness: bool

    @property
    def models(self) -> list[Model]:
        """All models, and what stands for one, in the order of making."""
        made = (
            self.teacher,
            *self.students,
            self.supervised,
            self.finetuned,
        )
        return [*filter(None, made)]

    @property
    def networks(self) -> list[Model]:
        """The models that can be shown an image."""
        return [each for each in self.models if not each.predictions_from]

    @property
    def candidates(self) -> list[Model]:
        """The models that may be exported: all but the supervised one."""
        return [each for each in self.networks if each != self.supervised]

    @property
    def comparisons(self) -> list[tuple[Model, Model]]:
        """Which model is compared with which other one.

        Students and what is fine-tuned of them: with what they learned from,
        with the first teacher and with the supervised baseline.
        """
        learners = [
            model
            for model in self.candidates
            if model.labelings or model.is_finetuned
        ]
        pairs: list[tuple[Model, Model]] = []
        for model in learners:
            source = model.teacher or model.start
            for other in (source, self.teacher, self.supervised):
                pair = (model, other)
                if isinstance(other, Model) and pair not in pairs:
                    pairs.append((model, other))
        return pairs

    @property
    def labelings(self) -> list[Labeling]:
        """All labelings, in order."""
        return [each for model in self.students for each in model.labelings]

    @property
    def stages(self) -> list[Stage]:
        """All stages, in order."""
        return list(_stages(self))

    def model(self, iteration: int) -> Model:
        """Return a student, counted from 1, or for 0 the first teacher.

        Raises:
            ValueError: The run has no such student.
        """
        if not 0 <= iteration <= len(self.students):
            raise ValueError(
                f"--iteration={iteration}: this run has "
                f"{len(self.students)} students; accepted are 0, the "
                "teacher, to that number. More take "
                "--self_training.num_iterations and another --workdir."
            )
        return (self.teacher, *self.students)[iteration]

    def labeling(self, iteration: int) -> Labeling:
        """Return the labels of a student, or for 0 those that only select.

        Raises:
            ValueError: The run has no such labels.
        """
        for labeling in self.labelings:
            if labeling.iteration == iteration:
                return labeling
        if iteration == SELECTION_ONLY:
            raise ValueError(
                "--iteration=0: only a teacher that selects and does not teach "
                "has it; name one with "
                "--self_training.selection_teacher_directory."
            )
        raise ValueError(
            f"--iteration={iteration}: this run has {len(self.students)} "
            "students; accepted are 1 to that number."
        )


def of(config: configs.Config) -> Recipe:
    """Return what a run of this configuration consists of."""
    models = [_teacher(config)]
    for number in range(1, config.self_training.num_iterations + 1):
        models.append(_student(config, number, models))
    *_, last = models
    return Recipe(
        teacher=models[0],
        # How another one was trained is not known here.
        num_folds=0
        if models[0].adopted_from or models[0].predictions_from
        else config.evaluation.teacher_folds,
        students=tuple(models[1:]),
        supervised=_supervised(last)
        if config.evaluation.supervised_baseline and last.labelings
        else None,
        finetuned=_finetuned(config, last)
        if config.fixres.resolution
        else None,
        finds_duplicates=_finds_duplicates(config),
        measures_robustness=config.evaluation.robustness,
    )


def _finds_duplicates(config: configs.Config) -> bool:
    return config.labeling.near_duplicate_bits >= 0


def _teacher(config: configs.Config) -> Model:
    return Model(
        name="teacher",
        folder="teacher",
        title="Teacher",
        iteration=0,
        architecture=config.teacher_model,
        epochs=config.training.teacher_epochs,
        min_steps=config.training.min_steps,
        start=config.model.initial_weights,
        adopted_from=config.self_training.teacher_directory,
        predictions_from=config.self_training.teacher_predictions,
    )


def _student(
    config: configs.Config, number: int, before: Sequence[Model]
) -> Model:
    """Return a student of the last of the models before it."""
    *_, teacher = before
    starts: dict[str, Model | str] = {
        "scratch": "",
        "initial_weights": config.model.initial_weights,
        "teacher": teacher,
    }
    first = before[1].labelings[0] if len(before) > 1 else None
    return Model(
        name=f"student_{number}",
        folder=f"student_{number}",
        title=f"Student {number}",
        iteration=number,
        architecture=config.model,
        epochs=config.training.student_epochs,
        min_steps=config.training.min_steps,
        start=starts[config.self_training.initialize_students_from],
        labelings=tuple(_labelings(config, number, teacher, first)),
        online_teacher=teacher if config.self_training.online_teacher else None,
    )


def _labelings(
    config: configs.Config, number: int, teacher: Model, first: Labeling | None
) -> Iterator[Labeling]:
    """Yield the labels that one student needs.

    Its own teacher's predictions select the images, unless an earlier
    selection is kept: then the teacher only labels those.
    """
    settings = config.self_training
    leaves_out = _finds_duplicates(config)
    if not first and settings.selection_teacher_directory:
        first = Labeling(
            iteration=SELECTION_ONLY,
            teacher=settings.selection_teacher_directory,
            leaves_out_duplicates=leaves_out,
        )
        yield first
    keeps = settings.keep_selection or settings.selection_teacher_directory
    kept = first if keeps else None
    yield Labeling(
        iteration=number,
        teacher=teacher,
        kept_from=kept,
        leaves_out_duplicates=leaves_out and not kept,
    )


def _supervised(student: Model) -> Model:
    """Return a student that sees labeled images alone.

    Architecture, first weights, noise, order of the labeled images and number
    of steps are the student's.
    """
    return dataclasses.replace(
        student,
        name=SUPERVISED,
        folder=SUPERVISED,
        title="Supervised baseline",
        labelings=(),
        online_teacher=None,
        drawn_as=student.name,
    )


def _finetuned(config: configs.Config, last: Model) -> Model | None:
    if not config.fixres.resolution:
        return None
    return Model(
        name=f"{last.name}_fixres",
        folder="fixres",
        title="FixRes fine-tuning",
        iteration=last.iteration,
        architecture=dataclasses.replace(
            last.architecture, resolution=config.fixres.resolution
        ),
        epochs=config.fixres.epochs,
        start=last,
        is_finetuned=True,
    )


def _stages(recipe: Recipe) -> Iterator[Stage]:
    yield Stage("labeled", "labeled")
    yield Stage("unlabeled", "unlabeled")
    if recipe.finds_duplicates:
        yield Stage("duplicates", "duplicates")
    for model in recipe.models:
        for each in model.labelings:
            yield Stage("predictions", each.predictions, labeling=each)
            if not each.kept_from:
                yield Stage("selection", each.selection, labeling=each)
            yield Stage("pseudo_labeled", each.pseudo_labeled, labeling=each)
        yield Stage("model", model.folder, model)
        if model == recipe.teacher and recipe.num_folds:
            yield Stage("folds", "folds")
    yield Stage("export", "export")
    if recipe.measures_robustness:
        yield Stage("robustness", "robustness")
