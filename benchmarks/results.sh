#!/usr/bin/env bash
# The comparisons of docs/results.md: bash benchmarks/results.sh digits|objects|tuxpaint FOLDER [JOBS [SEEDS]]
# A stopped call goes on where it was. tuxpaint needs FOLDER/tuxpaint, which this makes first:
#   python benchmarks/tuxpaint_gates.py prepare FOLDER/stamps && python benchmarks/protocols.py prepare FOLDER
set -euo pipefail
what=$1 folder=$2 jobs=${3:-1} seeds=${4:-3}
recipe="$(dirname "$0")/compare/$what.yaml"
methods=(xid av-vicreg supervised-av avid xdc sdc mdc cdc swav mcn stica cmac l3 cma)
# Chosen on validation clips of digits-av: how often clusters are made, their number, and CMA's positives and rate.
settings=(xid.variant=in-batch xid.temperature=0.1 xid.q=0 swav.view.stream=video swav.encoder=video-tiny)
for kind in xdc sdc mdc cdc; do settings+=("$kind.every=6" "$kind.clusters=20"); done
after=(cma=avid)
orders=('xid>av-vicreg' 'xid>avid' 'cma>avid' 'xdc>sdc' 'xdc>mdc' 'xdc>cdc' 'supervised-av>xid')
if [ "$what" != objects ]; then
  methods+=(avid@self cma@wide avid@slow)
  settings+=(avid@self.cross=0 avid@self.within=1 cma@wide.positives=96)
  settings+=(cma@wide.optimiser.lr=3.0e-4 avid@slow.optimiser.lr=3.0e-4)
  after+=(cma@wide=avid avid@slow=avid)
  orders+=('avid>avid@self' 'cma@wide>avid@slow')
fi
case $what in
digits)
  methods+=(avid@longer)
  settings+=('*.video.frames=4' '*.video.fps=8.0' swav.view.frames=4 swav.view.fps=8.0)
  settings+=(stica.time.large_size=2 stica.time.small_size=1)
  after+=(avid@longer=avid)
  orders+=('cma>avid@longer' 'cma@wide>avid@longer' 'cmac>xid')
  data=(--data digits-av:A --recordings 1250 --samples 60000) ;;
objects)
  settings+=('*.video.frames=4' '*.video.fps=4.0' '*.video.size=32' swav.view.frames=4 swav.view.fps=4.0)
  settings+=(stica.time.large_size=2 stica.time.small_size=1)
  data=(--data objects-av --recordings 2000 --samples 115200) ;;
tuxpaint)
  settings+=('*.video.frames=2' '*.video.fps=4.0' '*.audio.hop=320' swav.view.frames=2 swav.view.fps=4.0)
  settings+=('*.views.video.frames=2' '*.views.video.fps=4.0' '*.views.audio.hop=320')
  settings+=(stica.time.large_size=1 stica.time.small_size=1 stica.elsewhere=false)  # the arrays hold one clip
  data=(--data "$folder/tuxpaint/train" --test-data "$folder/tuxpaint/test" --samples 32000) ;;
*) echo "expected digits, objects or tuxpaint, found $what" >&2; exit 2 ;;
esac
coview compare "${methods[@]}" "${data[@]}" --tiny --preset digits --settings "$recipe" --set "${settings[@]}" \
  --after "${after[@]}" --orders "${orders[@]}" --seeds "$seeds" --shuffled-seeds 0 --jobs "$jobs" -o "$folder/compare-$what"
