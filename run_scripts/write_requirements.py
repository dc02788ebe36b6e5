"""Write requirements.txt and requirements-tpu.txt from pyproject.toml.

pyproject.toml is the only list of packages; these files are for tools that
want a plain one. Run it after every change of the dependencies:

    python -m run_scripts.write_requirements
"""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent

_HEADER = """\
# Written by `python -m run_scripts.write_requirements` from pyproject.toml:
# change that, not this.
#
# tensorflow-addons is absent on purpose: its last release cannot be imported
# beside Keras 3. README.md says what replaces each of its pieces.
"""

_TPU_HEADER = """\
#
# On a TPU VM tensorflow-tpu takes tensorflow's place; never install both:
#
#     pip install -r requirements-tpu.txt
#     pip install --no-deps --editable .
"""


def package_name(requirement: str) -> str:
    """Return the name in a requirement, without extras and versions."""
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]


def contents() -> dict[str, str]:
    """Return what each requirements file has to contain, by its name."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = pyproject["project"]["dependencies"]
    replacements = pyproject["tool"]["noisy-student-tf"]["tpu-replacements"]
    tpu_packages = [
        replacement
        for package in packages
        for replacement in replacements.get(package_name(package), [package])
    ]
    return {
        "requirements.txt": _HEADER + _lines(packages),
        "requirements-tpu.txt": _HEADER + _TPU_HEADER + _lines(tpu_packages),
    }


def _lines(packages: list[str]) -> str:
    return "".join(f"{package}\n" for package in packages)


def main() -> None:
    """Write the files."""
    for name, content in contents().items():
        (ROOT / name).write_text(content)


if __name__ == "__main__":
    main()
