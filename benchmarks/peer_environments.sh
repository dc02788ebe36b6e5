#!/usr/bin/env bash
# Makes the environments of the peers that the benchmarks compare with, one a
# peer, since their dependencies exclude each other and ours:
#
#     bash benchmarks/peer_environments.sh [DIRECTORY]     (default: .peers)
#
# DIRECTORY/garden: TensorFlow Model Garden; DIRECTORY/torch: timm on CPU torch.
# KerasCV and Keras are measured in the project's own environment. What is there
# is left alone.
set -euo pipefail

directory="${1:-.peers}"
python="${PYTHON:-python3.11}"
# uv is many times faster; pip does the same.
if command -v uv >/dev/null; then
  uv_command="uv"
else
  uv_command="${python} -m uv"
fi

# Installs packages into an environment: NAME OPTIONS_AND_PACKAGES...
install() {
  ${uv_command} pip install --quiet --python "${directory}/$1/bin/python" \
    "${@:2}"
}

# Makes an environment and a mark when it is complete: NAME PACKAGES...
make_environment() {
  local name="$1"
  local mark="${directory}/${name}/complete"
  if [[ -e "${mark}" ]]; then
    echo "${directory}/${name} is there"
    return
  fi
  ${uv_command} venv --quiet --allow-existing --python "${python}" \
    "${directory}/${name}"
  install "${name}" "${@:2}"
  if [[ "${name}" == torch ]]; then
    # Its wheel asks for a torch with CUDA; the Python part runs without.
    install "${name}" --no-deps "torchvision==0.28.0"
  fi
  touch "${mark}"
}

make_environment garden "tf-models-official==2.20.0"
# A torch without CUDA; TORCH_OPTIONS="" takes the registry's own.
make_environment torch ${TORCH_OPTIONS---torch-backend=cpu} "torch==2.13.0" "timm>=1.0.20" "numpy<3" "pillow"
