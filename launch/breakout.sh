#!/usr/bin/env bash
# The main job: record Breakout with its sound, learn it, roll it out again under actions, and measure.
# Sized for a quarter of an hour on two quiet cores; FULL=1 records 20,000 frames and trains for fifty minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/setup.sh sims
frames=8000 starts=64 config=configs/atari.py:quick
[ -z "${FULL:-}" ] || frames=20000 starts=256 config=configs/atari.py
run="${1:-runs/breakout}"
oyster=.venv/bin/oyster
$oyster record --source=ale:breakout --frames=$frames --out="$run/data"
$oyster train --config=$config --data="$run/data" --workdir="$run"
$oyster rollout --world="$run/world" --data="$run/data" --seconds=10 --actions='LEFT*15,RIGHT*15,NOOP*10' --out="$run/world.mp4"
$oyster evaluate --world="$run/world" --data="$run/data" --out="$run/report" --starts=$starts
