#!/usr/bin/env bash
# Runs Noisy Student Training on the embedded digits, from a fresh clone:
# makes .venv, installs the project, and leaves report.html and an exported
# classifier in runs/digits. Arguments go to the run, e.g. --seed=1.
# A run that was stopped goes on when this is called again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source run_scripts/environment.sh

prepare_environment
say "Running Noisy Student Training on handwritten digits (about 5 minutes on two cores)"
exec .venv/bin/python -m run_scripts.noisy_student \
  --preset=digits --workdir=runs/digits "$@"
