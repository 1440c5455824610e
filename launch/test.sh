#!/usr/bin/env bash
# Sets up .venv, checks style, runs the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/setup.sh test
export JAX_PLATFORMS=cpu
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# A file's tests share what its first one made, so they stay together; the longest file takes a third of all the time,
# so that more than four workers would gain nothing.
.venv/bin/python -m pytest -n auto --maxprocesses=4 --dist loadfile "$@"
