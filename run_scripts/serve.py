"""Show a page on which pictures are dropped to try an exported model.

Reads the SavedModel in `--export`. Not a production server: docs/serving.md
says how TensorFlow Serving serves the same directory.

    python -m run_scripts.serve --export=runs/digits/export/saved_model

The endpoint behind the page takes a picture's bytes and returns JSON:

    curl --data-binary @cat.jpg http://127.0.0.1:8501/classify
"""

import importlib.util

from absl import flags

from noisy_student_tf.configs import config_tree
from noisy_student_tf.serving import exported
from run_scripts import flags as config_flags

_PACKAGES = ("fastapi", "uvicorn")


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path("export", None, "SavedModel, or a run's directory.")
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on; 0.0.0.0 is all networks."
    )
    flags.DEFINE_integer("port", 8501, "Port; 0 takes a free one.")


def main(_: list[str]) -> None:
    """Serve until interrupted."""
    config_flags.require("export", "runs/digits/export/saved_model")
    missing = [name for name in _PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise ImportError(
            f"{missing[0]} is not installed: pip install -e '.[serving]'."
        )
    import uvicorn

    from noisy_student_tf.serving import app

    application = app.make_app(exported.open_export(flags.FLAGS.export))
    uvicorn.run(
        application,
        host=flags.FLAGS.host,
        port=flags.FLAGS.port,
        log_level="info",
    )


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
