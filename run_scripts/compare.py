"""Set runs side by side: results, settings, and pictures that tell them apart.

Reads finished or half-finished runs, prints a table, and writes a page. The
others are compared with the first one, image by image where both held out the
same images.

    python -m run_scripts.compare runs/mine runs/mine_2 --output=compare.html
"""

from absl import flags

from noisy_student_tf.configs import config_tree
from noisy_student_tf.report.compared import compare_page
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path("output", "compare.html", "The page.")
    flags.DEFINE_integer(
        "num_pictures",
        18,
        "Pictures at most that one run alone has right, and as many that the "
        "other one has. 0: none, and TensorFlow is not needed.",
        lower_bound=0,
    )


def main(arguments: list[str]) -> None:
    """Print the comparison, and write the page."""
    found = compare_page.compare(arguments[1:])
    print(compare_page.describe(found))
    compare_page.write(
        flags.FLAGS.output, found, num_pictures=flags.FLAGS.num_pictures
    )
    print(f"page: {flags.FLAGS.output}")


if __name__ == "__main__":
    define_flags()
    config_flags.run(main, takes_arguments=True)
