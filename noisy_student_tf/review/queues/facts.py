"""What a run's folder holds that queues are made of, read when it is wanted."""

import dataclasses
import functools

import numpy as np
from scipy import special

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.records import held_out, schema, shards
from noisy_student_tf.review import places
from noisy_student_tf.review.queues import (
    candidates,
    entries,
    none_of_the_classes,
    outputs,
)

_SPEC_FILE = "model.json"
_FOLDS = "folds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How queues are made.

    Attributes:
        length: Pictures of a queue at most.
        num_looked_at: Unlabeled images that the last network looks at again, a
            third each of uncertain, of learned from and of random ones.
    """

    length: int = 300
    num_looked_at: int = 3000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """A run, as far as it is.

    Attributes:
        workdir: Its folders.
        config: Its configuration.
        settings: Of the queues.
        class_names: Of the labeled images.
        labelings: The finished ones of all unlabeled images, in order.
        model: The last finished network; None: there is none.
    """

    workdir: workdirs.Workdir
    config: configs.Config
    settings: Settings
    class_names: list[str]
    labelings: list[recipes.Labeling]
    model: recipes.Model | None

    @property
    def folds(self) -> str:
        """File of what teachers say who have not seen a labeled image."""
        return held_out.path(self.workdir.folds, _FOLDS)

    @property
    def learned_from(self) -> recipes.Labeling | None:
        """The labels of the last network; None: it is no student's."""
        labelings = self.model.labelings if self.model else ()
        is_known = labelings and labelings[-1] in self.labelings
        return labelings[-1] if is_known else None

    @property
    def num_each(self) -> int:
        """Images of each kind that are looked at."""
        return max(1, self.settings.num_looked_at // 3)

    @functools.cached_property
    def unsure(self) -> candidates.Unsure:
        """Images of the last predictions; there are some."""
        return candidates.unsure(
            self.workdir, self.labelings[-1], count=self.num_each
        )

    @functools.cached_property
    def selected(self) -> candidates.Labeled | None:
        """What the last network was least surely taught."""
        if self.learned_from is None:
            return None
        return candidates.least_sure_selected(
            self.workdir, self.learned_from, count=self.num_each
        )

    @functools.cached_property
    def looked_at(self) -> "LookedAt":
        """What the last network says; there is one, and predictions.

        Raises:
            ValueError: An image is in no index.
        """
        kinds = [self.unsure.uncertain, self.unsure.sample]
        kinds += [self.selected.ids] if self.selected else []
        ids = candidates.unique(kinds)
        found = self.find(ids)
        made = outputs.compute(
            self.workdir,
            self.model_name,
            found,
            batch_size=self.config.training.evaluation_batch_size,
        )
        return LookedAt(found, made)

    def find(self, ids: list[bytes]) -> list[places.Place]:
        """Return where images lie, in their order.

        Raises:
            ValueError: One is in no index.
        """
        found = places.find_ids(self.workdir, ids)
        if missing := [each.hex() for each in ids if each not in found]:
            raise ValueError(
                f"{self.workdir.root}: predictions or folds are of the image "
                f"{missing[0]} and {len(missing) - 1} others that are in no "
                "index of the shards. They were built anew since: remove what "
                "was made of the former ones, and run again."
            )
        return [found[each] for each in ids]

    @property
    def model_name(self) -> str:
        """Folder of the last network; empty: there is none."""
        return self.model.folder if self.model else ""

    def held_out_energies(self) -> np.ndarray:
        """Return the last network's energies of held-out images: float64 [n].

        Of validation images, or else of test images, or none.
        """
        parts = [np.zeros(0)]
        for split in places.HELD_OUT:
            path = held_out.path(self.workdir.folder(self.model_name), split)
            if files.exists(path):
                parts += [
                    none_of_the_classes.energies(rows.logits)
                    for rows in held_out.read(path)
                ]
                break
        return np.concatenate(parts)

    def entry(
        self,
        place: places.Place,
        probabilities: np.ndarray,
        *,
        why: str,
        suggested: int | None,
        label: int = schema.NO_LABEL,
    ) -> entries.Entry:
        """Return a picture to show.

        Args:
            place: Where it lies.
            probabilities: float [num_classes].
            why: It is shown.
            suggested: What it seems to be; None: none of the classes.
            label: In question.
        """
        names = self.class_names
        return entries.Entry(
            place=place,
            best=entries.best_of(probabilities, names),
            label=None if label == schema.NO_LABEL else names[label],
            suggested=None if suggested is None else names[suggested],
            why=why,
        )


@dataclasses.dataclass(frozen=True)
class LookedAt:
    """Images, and what the last network says of them.

    Attributes:
        places: Where they lie.
        outputs: In the same order.
    """

    places: list[places.Place]
    outputs: outputs.Outputs

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Of the classes: float64 [num_images, num_classes]."""
        logits = self.outputs.logits.astype(np.float64)
        return special.softmax(logits, axis=1)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return where images are that were looked at: int64 [num_ids].

        Args:
            ids: uint8 [num_ids, 16].
        """
        return self.outputs.rows([each.tobytes() for each in ids])


def gather(workdir: workdirs.Workdir, settings: Settings) -> Facts:
    """Return what a run has made.

    Raises:
        FileNotFoundError: There is no run, or it has no labeled images.
    """
    config = workdirs.read_config(workdir)
    recipe = recipes.of(config)
    made = [
        model
        for model in (recipe.teacher, *recipe.students)
        # A run may drop a model that it has used.
        if shards.is_finished(workdir.folder(model.folder))
        and files.exists(files.join(workdir.folder(model.folder), _SPEC_FILE))
    ]
    return Facts(
        workdir=workdir,
        config=config,
        settings=settings,
        class_names=shards.read_manifest(workdir.labeled)["class_names"],
        labelings=candidates.predicted(recipe, workdir),
        model=made[-1] if made else None,
    )


def held_out_rows(path: str) -> held_out.Rows:
    """Read a whole file of held-out images."""
    parts = list(held_out.read(path))
    return held_out.Rows(
        np.concatenate([rows.ids for rows in parts]),
        np.concatenate([rows.labels for rows in parts]),
        np.concatenate([rows.logits for rows in parts]),
    )
