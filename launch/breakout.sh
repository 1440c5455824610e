#!/usr/bin/env bash
# The main job: record Breakout with its sound, learn it, roll it out again under actions, and measure.
# Sized for a quarter of an hour on two quiet cores; FULL=1 records 80,000 frames and trains for an hour of one core's
# time, in a folder of its own. GAME=pong does the same with Pong; an argument is another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
bash launch/setup.sh sims
source launch/cpu.sh
frames=8000 starts=64 config=configs/atari.py:quick
[ -z "${FULL:-}" ] || frames=80000 starts=256 config=configs/atari.py
game="${GAME:-breakout}"
run="${1:-runs/$game${FULL:+_full}}"
oyster=.venv/bin/oyster
$oyster record --source="ale:$game" --frames=$frames --clip_frames=320 --out="$run/data"
$oyster train --config=$config --data="$run/data" --workdir="$run"
$oyster rollout --world="$run/world" --data="$run/data" --seconds=10 --actions='LEFT*15,RIGHT*15,NOOP*10' --out="$run/world.mp4"
$oyster evaluate --world="$run/world" --data="$run/data" --out="$run/report" --starts=$starts
