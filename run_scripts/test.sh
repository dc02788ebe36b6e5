#!/usr/bin/env bash
# Runs the tests from a fresh clone: makes .venv, installs the project with its
# development tools, and calls pytest. Arguments go to pytest, e.g.
#   bash run_scripts/test.sh tests/evaluation -k report
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source run_scripts/environment.sh

prepare_environment dev
say "Running the tests (10 to 25 minutes on two cores)"
# A later -n among the arguments wins over this one.
# One process keeps a file: its fixtures are made once. The longest files
# begin (tests/conftest.py), not those of the most tests.
exec .venv/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder "$@"
