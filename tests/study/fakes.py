"""Records as a run would leave them, with accuracies of one's choice."""

from noisy_student_tf.records import robustness_sets

CORRUPTIONS = robustness_sets.CORRUPTIONS
PERTURBATIONS = robustness_sets.PERTURBATIONS


def test_row(model, accuracy):
    return {
        "model": model,
        "set": "fashion_mnist",
        "split": "test",
        "resolution": 28,
        "weights": "ema",
        "num_images": 10_000,
        "accuracy": accuracy,
        "interval_95": [accuracy - 0.008, accuracy + 0.008],
    }


def robustness_rows(model, *, error, flips, attacked):
    """Rows of one error, one flip probability, and one accuracy attacked."""
    common = {"model": model, "split": "test", "num_images": 100}
    if not isinstance(flips, dict):
        flips = dict.fromkeys(PERTURBATIONS, flips)
    return [
        {
            **common,
            "measure": "corruptions",
            "errors": {name: [error] * 5 for name in CORRUPTIONS},
        },
        {**common, "measure": "perturbations", "flip_probabilities": flips},
        {
            **common,
            "measure": "fgsm",
            "epsilon_pixels": 4.0,
            "accuracy": attacked,
        },
        {
            **common,
            "measure": "pgd",
            "epsilon_pixels": 16.0,
            "accuracy": attacked,
        },
    ]


def record(arm, seed, accuracies, rows=()):
    """Return a record of models with these accuracies."""
    return {
        "arm": arm,
        "seed": seed,
        "models": {
            model: {"num_parameters": 1_500_000} for model in accuracies
        },
        "pseudo_labels": [],
        "results": [*(test_row(*item) for item in accuracies.items()), *rows],
    }


def main_records(seed, *, supervised, students):
    """Return the records of the main table with one seed."""
    names = ["teacher", *(f"student_{i}" for i in (1, 2, 3))]
    return [
        record(
            "supervised",
            seed,
            {"teacher": supervised},
            robustness_rows("teacher", error=0.4, flips=0.1, attacked=0.2),
        ),
        record(
            "noisy_student",
            seed,
            dict(zip(names, students, strict=True)),
            robustness_rows("student_3", error=0.3, flips=0.08, attacked=0.3),
        ),
    ]
