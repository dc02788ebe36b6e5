#!/usr/bin/env bash
# Runs Noisy Student Training on photographs, from a fresh clone: 2,624 of solar
# cells (Deitsch et al.; CC BY-NC-SA 4.0), of which 80 are labeled for the run
# and 600 held out. Makes .venv, installs the project, released weights and the
# photographs (91 MB), and leaves report.html and an exported classifier in
# runs/own_photographs. Arguments go to the run, e.g. --seed=1.
# A run that was stopped goes on when this is called again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source run_scripts/environment.sh

readonly WORKDIR=runs/own_photographs
readonly PHOTOGRAPHS=elpv-dataset==1.0.0.post1

prepare_environment weights
.venv/bin/python -c "import importlib.metadata as m; m.distribution('${PHOTOGRAPHS%%=*}')" \
  2>/dev/null || install_packages "$PHOTOGRAPHS"
.venv/bin/python -m study.solar_cells.cells --output_dir="$WORKDIR/cells"
say "Running Noisy Student Training on photographs of solar cells"
exec .venv/bin/python -m run_scripts.noisy_student \
  --preset=photos --workdir="$WORKDIR" \
  --data.labeled="csv:$WORKDIR/cells/cells.csv" \
  --data.labeled_per_class=40 --data.split=hashed \
  --data.evaluation_fraction=0.2287 --data.validation_fraction=0 "$@"
