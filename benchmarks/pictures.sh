#!/usr/bin/env bash
# The systems that learn from the inside of a picture, side by side: bash benchmarks/pictures.sh objects|stamps FOLDER [rates]
# or `bash benchmarks/pictures.sh photographs FOLDER`: two of them, that paint, on FOLDER/collection of photographs.py.
# `rates` trains each at three rates for half of the length and measures on validation pictures; without it the chosen
# rates, three seeds and the test pictures. A stopped call goes on where it was. stamps needs FOLDER/collection, which
# `python benchmarks/pictures.py prepare FOLDER` makes.
set -euo pipefail
what=$1 folder=$2 mode=${3:-final}
if [ "$what" = photographs ]; then
  for seed in 0 1 2; do
    for method in colorization 'context-encoder --method.hole centre'; do
      # shellcheck disable=SC2086
      coview pretrain $method --tiny --collection "$folder/collection" --seed $seed --preset none --augment.flip 0.5 \
        --augment.crop-area 0.5 1 --method.image.size 64 --optimiser.kind adamw --optimiser.lr 1e-3 --schedule.kind cosine \
        --schedule.warm-up 0.1 --train.batch-size 32 --train.steps 300 --resume \
        -o "$folder/photographs/runs/${method%% *}.pairs.$seed/run"
    done
  done
  exit
fi
methods=(relative-position context-encoder colorization larsson-colorization split-brain denoising-autoencoder swav vicreg)
settings=('*.image.size=64' swav.view.size=64 'vicreg.views=[image, image_2]') # two crops of one picture
case $what in
objects) data=(--data objects-av --recordings 4000) samples=12800 low=(relative-position larsson-colorization denoising-autoencoder) lower=() ;;
stamps) data=(--data "$folder/collection") samples=9600 low=() lower=(colorization larsson-colorization) ;;
*) echo "expected objects, stamps or photographs, found $what" >&2; exit 2 ;;
esac
if [ "$mode" = rates ]; then
  samples=$((samples / 2))
  for method in "${methods[@]}"; do
    methods+=("$method@low" "$method@lower")
    settings+=("$method@low.optimiser.lr=1.0e-3" "$method@lower.optimiser.lr=3.0e-4")
  done
  more=(--seeds 1 --validate)
else
  # The rates that rank first in validation; of several views, by the probe of their joined features. All others: 3e-3.
  for method in "${low[@]}"; do settings+=("$method.optimiser.lr=1.0e-3"); done
  for method in "${lower[@]}"; do settings+=("$method.optimiser.lr=3.0e-4"); done
  more=(--seeds 3)
fi
coview compare "${methods[@]}" "${data[@]}" --samples "$samples" --tiny --preset xid --no-supervised --shuffled-seeds 0 \
  --settings "$(dirname "$0")/compare/objects.yaml" --after --set "${settings[@]}" "${more[@]}" -o "$folder/$what-$mode"
