#!/usr/bin/env bash
# Makes .venv with everything that the README's commands need, on Debian or Ubuntu; run again, it does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:-test}"
missing=()
# ViZDoom plays its sound through OpenAL, and is silent without saying so where the library is missing.
# (Not grep -q: it stops reading, and with pipefail an ldconfig that is cut short looks like a missing library.)
ldconfig -p | grep libopenal > /dev/null || missing+=(libopenal1)
ldconfig -p | grep libtcmalloc_minimal > /dev/null || missing+=(libtcmalloc-minimal4)  # for cpu.sh
"${PYTHON:-python3}" -c 'import ensurepip' 2> /dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get > /dev/null; then
  sudo="$([ "$(id -u)" = 0 ] || echo sudo)"
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "${missing[@]}" > /dev/null
fi
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/pip install -q --upgrade pip
.venv/bin/pip install -q -e ".[$extra]"
