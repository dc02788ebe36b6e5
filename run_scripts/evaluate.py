"""Measure models, and write their tables and reports.

Of a run, gathers and prints the results of its finished models and writes
`results.json` and `report.html` there; `--robustness` measures them on
corrupted, perturbed and attacked images first:

    python -m run_scripts.evaluate --workdir=runs/digits --robustness

With `--sets`, measures any models (directories of trained or imported ones,
SavedModels) on any labeled images, and writes `results.json`,
`evaluation.html` and what each model says of each image to `--output_dir`:

    python -m run_scripts.evaluate --model=runs/b0/student_1 \\
        --sets=imagenet=folder:/data/val,imagenet_a=folder:/data/imagenet-a,\\
imagenet_c=/data/imagenet-c,imagenet_p=/data/imagenet-p \\
        --robustness --output_dir=runs/b0/evaluation
"""

import dataclasses

from absl import flags

from noisy_student_tf import configs, files, self_training
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import runtime
from noisy_student_tf.evaluation import adversarial, results
from noisy_student_tf.report import evaluation_page
from noisy_student_tf.report.robustness import robustness_tables
from noisy_student_tf.stages import classifiers, measuring, robustness, runs
from run_scripts import flags as config_flags

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Define the flags of this script."""
    config_flags.define_run_flags()
    flags.DEFINE_bool(
        "robustness",
        False,
        "Measure under attack, too; of a run, on corrupted images and "
        "sequences made of its held-out images.",
    )
    flags.DEFINE_list(
        "sets",
        [],
        "NAME=SOURCE, ...: imagenet, imagenet_v2, imagenet_real, imagenet_a, "
        "imagenet_r, imagenet_sketch, imagenet_c, imagenet_p, or a name of "
        "one's own, ending in _c for corruptions and in _p for sequences.",
    )
    config_tree.DEFINE_paths("model", [], "Models to measure on --sets.")
    config_tree.DEFINE_path("output_dir", None, "Where --sets writes.")
    flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Which weights.")
    flags.DEFINE_integer(
        "resolution", 0, "Side of the test images. 0: the model's.", 0
    )
    config_tree.DEFINE_path("real_labels", "", "real.json, for imagenet_real.")
    flags.DEFINE_integer("difficulty", 1, "Of sequences.", 1, 3)
    flags.DEFINE_list(
        "fgsm_epsilons",
        [f"{epsilon:g}" for epsilon in adversarial.FGSM_EPSILONS],
        "Strengths of FGSM in pixels of [0, 255].",
    )
    flags.DEFINE_list(
        "pgd_epsilons",
        [f"{adversarial.PGD_EPSILON:g}"],
        "Strengths of PGD in pixels of [0, 255].",
    )
    flags.DEFINE_integer(
        "pgd_iterations", adversarial.PGD_ITERATIONS, "Steps of PGD.", 2
    )


def main(_: list[str]) -> None:
    """Measure, print and draw."""
    if FLAGS.sets:
        _measure_sets()
        return
    run = runs.start(*config_flags.run_settings())
    if FLAGS.robustness:
        robustness.measure(run)
    rows = self_training.write_results(run)
    print(results.format_table(rows))
    print(robustness_tables.format_tables(rows), end="")


def _measure_sets() -> None:
    if not FLAGS.model or not FLAGS.output_dir:
        raise ValueError(
            "--sets needs --model, the models to measure, and --output_dir, "
            "where results.json and evaluation.html go."
        )
    sets = [measuring.parse_set(text) for text in FLAGS.sets]
    runtime.set_up_logging()
    config = config_flags.override_from_flags(configs.Config())
    files.make_directories(FLAGS.output_dir)
    options = _options(config)
    strategy = runtime.own_strategy(runtime.make_strategy(config.runtime))
    models = [
        classifiers.load(
            path,
            weights=FLAGS.weights,
            resolution=FLAGS.resolution,
            strategy=strategy,
        )
        for path in FLAGS.model
    ]
    rows = measuring.measure(_name_apart(models), sets, options)
    for row in rows:
        results.add(files.join(FLAGS.output_dir, "results.json"), row)
    print(robustness_tables.format_all(rows), end="")
    print(f"page: {evaluation_page.write_page(FLAGS.output_dir)}")


def _options(config: configs.Config) -> measuring.Options:
    attacks = FLAGS.robustness
    return measuring.Options(
        batch_size=config.training.evaluation_batch_size,
        directory=FLAGS.output_dir,
        real_labels=FLAGS.real_labels,
        difficulty=FLAGS.difficulty,
        fgsm_epsilons=_floats("fgsm_epsilons") if attacks else (),
        pgd_epsilons=_floats("pgd_epsilons") if attacks else (),
        pgd_iterations=FLAGS.pgd_iterations,
    )


def _floats(flag: str) -> tuple[float, ...]:
    texts = FLAGS[flag].value or []
    try:
        epsilons = tuple(float(text) for text in texts)
    except ValueError as error:
        raise ValueError(
            f"--{flag}={','.join(texts)}: accepted are numbers of pixels, "
            "separated by commas."
        ) from error
    for epsilon in epsilons:
        adversarial.check_epsilon(epsilon)
    return epsilons


def _name_apart(
    models: list[classifiers.Classifier],
) -> list[classifiers.Classifier]:
    """Number models whose folders have the same name."""
    seen: dict[str, int] = {}
    named = []
    for model in models:
        seen[model.name] = seen.get(model.name, 0) + 1
        number = seen[model.name]
        name = f"{model.name} ({number})" if number > 1 else model.name
        named.append(dataclasses.replace(model, name=name))
    return named


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
