#!/usr/bin/env bash
# Makes .venv with everything that the README's commands need, on Debian or Ubuntu; run again, it does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:-test}" python="${PYTHON:-python3}"
# An environment that is there stays, unless its Python is too old or not the one that PYTHON asks for, or it has no pip.
usable='import sys, pip; now = sys.version_info[:2]; sys.exit(now < (3, 11) or sys.argv[1] not in ("", "%d.%d" % now))'
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
make="$(.venv/bin/python -c "$usable" "${PYTHON:+$version}" 2> /dev/null || echo yes)"
if [ "$make" ] && ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "$python is Python $version, and 3.11 or newer is needed: PYTHON=python3.12 bash launch/setup.sh" >&2
  exit 2
fi
missing=()
# ViZDoom plays its sound through OpenAL, and is silent without saying so where the library is missing.
# (Not grep -q: it stops reading, and with pipefail an ldconfig that is cut short looks like a missing library.)
libraries="$(PATH="$PATH:/sbin" ldconfig -p || true)"
grep libopenal <<< "$libraries" > /dev/null || missing+=(libopenal1)
grep libtcmalloc_minimal <<< "$libraries" > /dev/null || missing+=(libtcmalloc-minimal4)  # for cpu.sh
[ -z "$make" ] || "$python" -c 'import ensurepip' 2> /dev/null || missing+=("python$version-venv")
if [ ${#missing[@]} -gt 0 ] && command -v apt-get > /dev/null; then
  sudo="$([ "$(id -u)" = 0 ] || echo sudo)"
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "${missing[@]}" > /dev/null
fi
[ -z "$make" ] || "$python" -m venv --clear .venv
.venv/bin/pip install -q --upgrade pip
.venv/bin/pip install -q -e ".[$extra]"
