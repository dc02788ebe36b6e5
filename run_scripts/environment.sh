# Sourced by quickstart.sh, own_photographs.sh and test.sh: makes .venv and
# installs the project.
#
#   PYTHON   the interpreter to use, e.g. PYTHON=python3.12; only needed to
#            choose among several.
#
# shellcheck shell=bash

readonly SUPPORTED='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
readonly STAMP=.venv/noisy-student-installed

say() { printf '==> %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$@" >&2
  exit 1
}

find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    "$PYTHON" -c "$SUPPORTED" 2>/dev/null || fail \
      "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13: $("$PYTHON" --version 2>&1 || true)" \
      "Name one that is, e.g. PYTHON=python3.12, or leave PYTHON out."
    echo "$PYTHON"
    return
  fi
  # An environment that is there already keeps its interpreter.
  for candidate in .venv/bin/python python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c "$SUPPORTED" >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  if command -v uv >/dev/null && uv python find '>=3.11,<3.14' 2>/dev/null; then
    return
  fi
  fail "no Python 3.11, 3.12 or 3.13 found (python3 is $(python3 --version 2>&1 || true))." \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; with uv: uv python install 3.12)" \
    "or name one: PYTHON=/path/to/python3.12 bash $0"
}

# What an environment depends on: the list of packages, the interpreter, and
# where the checkout lies.
fingerprint() {
  "$1" - <<'PY'
import hashlib, os, pathlib, sys
text = pathlib.Path("pyproject.toml").read_text() + sys.version + os.getcwd()
print(hashlib.sha256(text.encode()).hexdigest())
PY
}

make_environment() {
  local python=$1
  if [[ -x .venv/bin/python ]] && [[ $(fingerprint .venv/bin/python 2>/dev/null) == $(fingerprint "$python") ]]; then
    return
  fi
  say "Making .venv with $("$python" --version)"
  if command -v uv >/dev/null; then
    uv venv --quiet --clear --python "$python" .venv
    return
  fi
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
    "$python has no venv module, so .venv cannot be made." \
    "Debian, Ubuntu: apt-get install python3-venv; or install uv (https://docs.astral.sh/uv), which needs none."
  "$python" -m venv --clear .venv
}

# install_packages PACKAGE...: into .venv; options of pip go first.
install_packages() {
  if command -v uv >/dev/null; then
    say "Installing ${*: -1} into .venv with uv"
    uv pip install --quiet --python .venv/bin/python "$@"
  else
    say "Installing ${*: -1} into .venv with pip (a few minutes the first time)"
    # uv makes environments without pip; an interrupted venv has none either.
    .venv/bin/python -m pip --version >/dev/null 2>&1 \
      || .venv/bin/python -m ensurepip >/dev/null
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

# prepare_environment [EXTRA]: leaves a .venv with the project and, if named,
# one of pyproject.toml's extras. Does nothing where that is so already.
prepare_environment() {
  local extra=${1:-} python current
  python=$(find_python)
  make_environment "$python"
  current=$(fingerprint .venv/bin/python)
  # The stamp holds the fingerprint, and the extra that was installed.
  if [[ -f $STAMP ]]; then
    case "$(cat "$STAMP")" in
      "$current $extra" | "$current dev")
        say ".venv is up to date ($(.venv/bin/python --version))"
        return ;;
    esac
  fi
  install_packages --editable ".${extra:+[$extra]}"
  echo "$current $extra" >"$STAMP"
}
