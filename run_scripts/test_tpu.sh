#!/usr/bin/env bash
# Tests what a TPU's host runs with the packages of requirements-tpu.txt, on a
# machine without a TPU: input pipelines, and the training step traced under
# TPUStrategy. Makes .venv-tpu the first time (2.6 GB). Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source run_scripts/environment.sh

readonly TPU_PYTHON=.venv-tpu/bin/python TPU_STAMP=.venv-tpu/installed

python=$(find_python)
wanted="$(sha256sum <requirements-tpu.txt) $("$python" --version) $PWD"
if [[ $(cat "$TPU_STAMP" 2>/dev/null) != "$wanted" ]]; then
  say "Making .venv-tpu (some minutes)"
  if command -v uv >/dev/null; then
    uv venv --quiet --clear --python "$python" .venv-tpu
    uv pip install --quiet --python "$TPU_PYTHON" -r requirements-tpu.txt pytest
  else
    "$python" -m venv --clear .venv-tpu
    "$TPU_PYTHON" -m pip install --quiet --disable-pip-version-check \
      -r requirements-tpu.txt pytest
  fi
  echo "$wanted" >"$TPU_STAMP"
fi

# TensorFlow aborts at import where it is missing; see pyproject.toml.
"$TPU_PYTHON" - <<'PY'
import ctypes, importlib.util, sys
folder = importlib.util.find_spec("libtpu").submodule_search_locations[0]
if not hasattr(ctypes.CDLL(f"{folder}/libtpu.so"), "ConfigureDistributedTpuOp_DoWork"):
    sys.exit("error: this libtpu is too new for tensorflow-tpu: pin it in pyproject.toml")
PY

say "Running tests with TensorFlow's build for TPUs (about 2 minutes)"
# Without it TensorFlow waits for a TPU, for minutes.
export TPU_LOAD_LIBRARY=0
if (($# == 0)); then
  set -- tests/pod/test_tpu_trace.py tests/pipeline/augmentation \
    tests/pipeline/test_train_stream.py
fi
exec "$TPU_PYTHON" -m pytest "$@"
