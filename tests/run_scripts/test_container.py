"""What can be said of a container without building one."""

import ast
import fnmatch
import re

import pytest
import yaml
from absl import flags

from run_scripts import serve, write_requirements
from tests.run_scripts import scripts

ROOT = write_requirements.ROOT
FOLDER = ROOT / "run_scripts" / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
(SERVICE,) = COMPOSE["services"].values()


def instructions():
    """Return pairs of an instruction and its rest, lines joined."""
    text = (FOLDER / "Dockerfile").read_text()
    lines = [
        line for line in text.splitlines() if not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in joined.splitlines() if line]


def rests(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def words(rest):
    """Return the list of an instruction in its exec form."""
    return ast.literal_eval(rest[rest.index("[") :])


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    taken = {line[1:] for line in ignored if line.startswith("!")}
    copied = {source for rest in rests("COPY") for source in rest.split()[:-1]}
    assert copied == taken
    assert all((ROOT / source).exists() for source in copied)
    # Everything else is: runs/ may hold a terabyte.
    assert fnmatch.fnmatch("runs", ignored[0])


def test_what_is_installed_is_what_serving_and_runtimes_need():
    pyproject = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", rests("RUN")[0])
    for extra in extras.split(","):
        assert f"\n{extra} = [" in pyproject


@pytest.mark.parametrize(
    "command",
    [
        words(rests("ENTRYPOINT")[0])[3:] + words(rests("CMD")[0]),
        words(rests("ENTRYPOINT")[0])[3:] + SERVICE["command"],
    ],
)
def test_the_server_takes_its_flags(command):
    assert words(rests("ENTRYPOINT")[0])[:3] == [
        "python",
        "-m",
        "run_scripts.serve",
    ]
    with scripts.parsed_flags(serve.define_flags, *command):
        assert flags.FLAGS.host == "0.0.0.0"
        assert flags.FLAGS.export.startswith("/models/")
        assert rests("EXPOSE") == [str(flags.FLAGS.port)]
        (health,) = rests("HEALTHCHECK")
        assert f"127.0.0.1:{flags.FLAGS.port}/readyz" in health
        ast.parse(words(health)[-1])


def test_it_does_not_run_as_root():
    (user,) = rests("USER")
    assert f" {user}" in rests("RUN")[0]
    assert user != "root"


def test_compose_names_files_that_are_there():
    build = SERVICE["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).samefile(FOLDER / "Dockerfile")
    assert COMPOSE["secrets"].keys() == set(SERVICE["secrets"])
    named = {volume.partition(":")[0] for volume in SERVICE["volumes"]}
    assert set(COMPOSE["volumes"]) == {v for v in named if "/" not in v}


def test_it_is_ended_no_sooner_than_it_answers():
    with scripts.parsed_flags(serve.define_flags):
        longest = flags.FLAGS.answer_seconds
    assert int(SERVICE["stop_grace_period"].rstrip("s")) > longest


def test_nobody_else_on_the_network_reaches_it():
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])
    assert any("--token_file=/run/secrets/" in f for f in SERVICE["command"])
