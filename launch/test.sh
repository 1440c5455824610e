#!/usr/bin/env bash
# Sets up .venv, checks style, runs the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/setup.sh test
export JAX_PLATFORMS=cpu
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# A file's tests share what its first one compiled: they stay together.
.venv/bin/python -m pytest -n auto --maxprocesses=4 --dist loadfile "$@"
