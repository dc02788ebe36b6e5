"""A page's session on a small run, its queues written by hand."""

from noisy_student_tf import workdirs
from noisy_student_tf.review import places, stored
from noisy_student_tf.review.page import answers, app
from noisy_student_tf.review.queues import entries
from tests.review import small_run

NUM_UNLABELED = 40
PICTURES = small_run.Pictures([f"f/{n}.png" for n in range(NUM_UNLABELED)])
TRAIN = small_run.Pictures([f"t/{n}.png" for n in range(3)], [0, 1, 2])
TOKEN = "secret"


def write_run(root: str) -> workdirs.Workdir:
    return small_run.write(root, {"unlabeled": PICTURES, "train": TRAIN})


def make(
    workdir: workdirs.Workdir, path: str, *, port: int = 8502, who: str = "ann"
) -> app.Session:
    """Return a session: 40 pictures to label, 3 doubted labels."""
    return app.Session(
        run="small",
        class_names=small_run.CLASS_NAMES,
        queues=queues(workdir),
        pictures=stored.Pictures(workdir),
        answers=answers.Answers(path, who),
        token=TOKEN,
        port=port,
    )


def queues(workdir: workdirs.Workdir) -> list[entries.Queue]:
    found = places.find_ids(workdir, PICTURES.ids() + TRAIN.ids())
    names = small_run.CLASS_NAMES
    best = ((names[1], 0.5), (names[0], 0.3), (names[2], 0.2))

    def entry(image_id: bytes, label: int | None) -> entries.Entry:
        return entries.Entry(
            place=found[image_id],
            best=best,
            label=None if label is None else names[label],
            suggested=names[1],
            why="<i>nobody</i> knows",
        )

    return [
        entries.Queue(
            name="label_next",
            title="Label these next",
            about="Unlabeled",
            model="student_1",
            entries=tuple(entry(each, None) for each in PICTURES.ids()),
        ),
        entries.Queue(
            name="wrong_labels",
            title="Wrong labels?",
            about="Labeled",
            model="teachers of the folds",
            entries=tuple(
                entry(each, label)
                for each, label in zip(TRAIN.ids(), TRAIN.labels, strict=True)
            ),
        ),
        entries.Queue(
            name="wrong_pseudo_labels",
            title="Wrong pseudo-labels?",
            about="Learned",
            missing="No student yet",
        ),
    ]
