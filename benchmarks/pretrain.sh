#!/bin/sh
# Train the model in the box: seeds of the strong baseline on walkers/wild, and a model file of each. A run that was stopped goes on.
#
#   benchmarks/pretrain.sh [--config.FIELD=VALUE ...]
#   SEEDS="0 1 2" OUT=runs VIDEO=vtest.avi TRACKS=vtest_tracks.txt benchmarks/pretrain.sh
#
# With VIDEO and TRACKS the models are measured on a real video, beside colours (benchmarks/real_video.py).
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
out=${OUT:-runs}
models=
for seed in ${SEEDS:-0 1 2}; do
  "$python" -m vreid_jax.main --config="$here/configs/strong_baseline.py:walkers,data.name=walkers/wild" \
    --workdir="$out/pretrain-$seed" --config.seed="$seed" "$@"
  "$python" -m vreid_jax.cli.command convert "$out/pretrain-$seed" --out="$out/pretrain-$seed.safetensors" \
    --without-classifier --half --licence=Apache-2.0
  models="$models --model=$out/pretrain-$seed.safetensors"
done
if [ -n "${VIDEO:-}" ]; then
  # shellcheck disable=SC2086  # one word a model
  "$python" "$here/benchmarks/real_video.py" "$VIDEO" "$TRACKS" --no-box $models
fi
