#!/usr/bin/env bash
# The systems that learn from moments and from what is heard on the whole, side by side:
#   bash benchmarks/moments.sh objects|digits FOLDER rates [METHOD.SETTING=VALUE ...]
#   bash benchmarks/moments.sh objects|digits FOLDER final [METHOD.SETTING=VALUE ...]
# `rates` trains each at three rates, one seed, and measures on validation clips; `final` makes
# the comparison, three seeds on the test clips, all at 3e-3 but for what is given (steady-features.optimiser.lr=1.0e-3).
# A stopped call goes on where it was. weak-captions and video-triplet take no part: a world has no text and no tracks.
set -euo pipefail
what=$1 folder=$2 mode=$3 here=$(dirname "$0")
methods=(steady-features ambient-sound physical-prediction)
# These worlds have no actions, and films are predicted as they are.
settings=('*.video.frames=4' '*.video.size=32' '*.image.size=32' 'physical-prediction.uses=[]')
settings+=(physical-prediction.video.normalise=none)
case $what in
objects) data=(--data objects-av --recordings 2000 --preset xid) samples=12800 settings+=('*.video.fps=4.0') ;;
digits) data=(--data digits-av:A --recordings 1250 --preset digits) samples=6400 settings+=('*.video.fps=8.0') ;;
*) echo "expected objects or digits, found $what" >&2; exit 2 ;;
esac
case $mode in
rates)
  more=(--seeds 1 --validate)
  for method in "${methods[@]}"; do
    methods+=("$method@low" "$method@lower")
    settings+=("$method@low.optimiser.lr=1.0e-3" "$method@lower.optimiser.lr=3.0e-4")
  done ;;
final) more=(--seeds 3) ;;
*) echo "expected rates or final, found $mode" >&2; exit 2 ;;
esac
coview compare "${methods[@]}" "${data[@]}" --samples "$samples" --tiny --no-supervised --shuffled-seeds 0 \
  --settings "$here/compare/$what.yaml" --after --set "${settings[@]}" "${@:4}" "${more[@]}" -o "$folder/moments-$what-$mode"
