#!/usr/bin/env bash
# Makes the environments of the peers that the benchmarks compare with, one a
# peer, since their dependencies exclude each other and ours:
#
#     bash benchmarks/peer_environments.sh [DIRECTORY [NAME...]]
#
# DIRECTORY (default: .peers) gets garden: TensorFlow Model Garden; torch: timm
# on CPU torch; and, if they are named, semilearn: FixMatch for the study, and
# webdataset: its writer for the builders. KerasCV, Keras and TFDS are measured in
# the project's own environment. What is there is left alone.
set -euo pipefail

directory="${1:-.peers}"
names=("${@:2}")
((${#names[@]})) || names=(garden torch)
for name in "${names[@]}"; do
  case "${name}" in
    garden | torch | semilearn | webdataset) ;;
    *)
      echo "error: ${name}: no such peer; accepted: garden, torch, semilearn, webdataset" >&2
      exit 1
      ;;
  esac
done
python="${PYTHON:-python3.11}"
# uv is many times faster; pip does the same.
has_uv() { command -v uv >/dev/null; }

make_venv() {
  if has_uv; then
    uv venv --quiet --allow-existing --python "${python}" "$1"
  else
    "${python}" -m venv "$1"
  fi
}

# Installs packages into an environment: NAME OPTIONS_AND_PACKAGES...
install() {
  if has_uv; then
    uv pip install --quiet --python "${directory}/$1/bin/python" "${@:2}"
  else
    "${directory}/$1/bin/python" -m pip install --quiet "${@:2}"
  fi
}

# Makes an environment, if it is asked for, and a mark when it is complete:
# NAME PACKAGES...
make_environment() {
  local name="$1"
  [[ " ${names[*]} " == *" ${name} "* ]] || return 0
  local mark="${directory}/${name}/complete"
  if [[ -e "${mark}" ]]; then
    echo "${directory}/${name} is there"
    return
  fi
  make_venv "${directory}/${name}"
  install "${name}" "${@:2}"
  if [[ "${name}" == torch ]]; then
    # Its wheel asks for a torch with CUDA; the Python part runs without.
    install "${name}" --no-deps "torchvision==0.28.0"
  fi
  touch "${mark}"
}

make_environment webdataset "webdataset==1.0.2"
make_environment garden "tf-models-official==2.20.0"
# With uv, a torch without CUDA; TORCH_OPTIONS says otherwise.
has_uv && TORCH_OPTIONS="${TORCH_OPTIONS---torch-backend=cpu}"
# shellcheck disable=SC2086  # Options are several words, or none.
make_environment torch ${TORCH_OPTIONS-} "torch==2.13.0" "timm>=1.0.20" "numpy<3" "pillow"
# shellcheck disable=SC2086
make_environment semilearn ${TORCH_OPTIONS-} "torch==2.9.1" "torchvision==0.24.1" \
  "torchaudio==2.9.*" "transformers<5" "semilearn==0.3.2"
