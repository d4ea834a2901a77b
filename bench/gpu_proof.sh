#!/usr/bin/env bash
# Proves the TensorRT path on a GPU machine without a network, in stages that leave their results (docs/gpu.md).
#
#   bash bench/gpu_proof.sh --env TRT_ENV --out OUT [--state DIR] [--frames ZIP] [--stages a,b,c] [--minutes 9] [--rehearse]
#
# TRT_ENV   the unpacked environment: the folder that holds python310
# OUT       results go to OUT/<date>-<commit>-gpu/: gpu.json, gpu.md, log.txt; copy that folder to bench/results
# DIR       what one call leaves for the next (/tmp/gpu-proof); a stage that is done is not done again
# ZIP       real frames for the parity gate (python -m scopeline_bench.proof_frames DATA ZIP)
#
# In a rehearsal only --minutes limits a stage. A stage is begun only while there is time for it; the last line names what is left for another call with the same DIR.
# --rehearse goes through it on a machine without a GPU, with the Python given in REHEARSE_PYTHON or found as python3.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
env="" out="" state=/tmp/gpu-proof frames="" minutes=9 rehearse=""
stages=env,networks,tests,plans,raw,latency,streams,preprocess,decode,switch,torch
while [ $# -gt 0 ]; do
  case "$1" in
    --env) env=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --state) state=$2; shift 2 ;;
    --frames) frames=$2; shift 2 ;;
    --stages) stages=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --rehearse) rehearse=--rehearse; shift ;;
    *) echo "gpu_proof.sh: unknown argument $1" >&2; exit 2 ;;
  esac
done
[ -n "$out" ] || { echo "gpu_proof.sh: wanted --out OUT" >&2; exit 2; }
if [ -n "$rehearse" ]; then
  python=${REHEARSE_PYTHON:-python3}
else
  [ -x "$env/python310" ] || { echo "gpu_proof.sh: wanted --env TRT_ENV with python310 in it, got '$env'" >&2; exit 2; }
  python=$env/python310
fi
torch_python=${TORCH_PYTHON:-python3}

mkdir -p "$state/found" "$state/done" "$out"
export SCOPELINE_CACHE=$state SCOPELINE_PROOF_COMMIT=${SCOPELINE_PROOF_COMMIT:-$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}
export PYTHONPATH=$here/bench/gpu_proof/python310:$here/engine:$here/bench:$here/training:$here/tests${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
log=$state/log.txt
end=$(( $(date +%s) + minutes * 60 - 20 ))   # the last seconds are for writing down

# seconds that a stage may take at most, and has to find left to be begun
limit() { case "$1" in env) echo 20;; networks) echo 90;; tests) echo 120;; plans) echo 420;; raw) echo 90;; latency) echo 180;; streams) echo 150;; preprocess) echo 70;; decode) echo 120;; switch) echo 170;; torch) echo 240;; esac; }
least() { case "$1" in env) echo 5;; networks) echo 30;; tests) echo 40;; plans) echo 150;; raw) echo 30;; latency) echo 130;; streams) echo 60;; preprocess) echo 45;; decode) echo 40;; switch) echo 60;; torch) echo 60;; esac; }

engine() { "$python" -m scopeline_bench.gpu_proof "$1" "$state" ${frames:+--frames "$frames"} $rehearse; }
work() {
  case "$1" in
    env) { nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.sm,clocks.max.sm,power.draw --format=csv 2>&1 || echo "no nvidia-smi"
           "$python" -V; "$python" -c 'import tensorrt; print("tensorrt", tensorrt.__version__)' 2>&1 | tail -1
           "$torch_python" -c 'import torch; print("torch", torch.__version__)' 2>&1 | tail -1; nproc; } | tee "$state/env.txt" ;;
    networks) "$torch_python" "$here/bench/gpu_proof/torch_networks.py" "$state/networks" ;;
    tests) if "$python" -c 'import pytest' 2>/dev/null; then
             (cd "$here" && SCOPELINE_GPU=$([ -n "$rehearse" ] || echo 1) "$python" -m pytest -q -W default -p no:cacheprovider tests/test_gpu.py 2>&1 | tee "$state/tests.txt"; exit "${PIPESTATUS[0]}")
           else echo "pytest is not in the environment: pack it with '-- pytest prometheus-client'" | tee "$state/tests.txt"; fi ;;
    torch) "$torch_python" "$here/bench/gpu_proof/torch_rows.py" "$state/found/torch.json" ${rehearse:+--cpu} ;;
    *) engine "$1" ;;
  esac
}

left=""
for stage in ${stages//,/ }; do
  [ -n "$(limit "$stage")" ] || { echo "gpu_proof.sh: no stage $stage" >&2; exit 2; }
  [ -e "$state/done/$stage" ] && continue
  remaining=$(( end - $(date +%s) ))
  if [ "$remaining" -lt "$(least "$stage")" ]; then left="$left $stage"; continue; fi
  most=$(limit "$stage"); [ "$most" -lt "$remaining" ] && [ -z "$rehearse" ] || most=$remaining
  echo "== $stage (at most $most s)" | tee -a "$log"
  export -f work engine; export here python torch_python state frames rehearse
  timeout --kill-after=5 "$most" bash -c 'work "$1"' _ "$stage" 2>&1 | tee -a "$log"
  code=${PIPESTATUS[0]}
  if [ "$code" = 0 ]; then touch "$state/done/$stage"; else echo "== $stage ended with $code" | tee -a "$log"; left="$left $stage"; fi
done
"$python" -m scopeline_bench.gpu_report "$state" "$out" $rehearse 2>&1 | tee -a "$log"
echo "stages left:${left:- none}" | tee -a "$log"
for folder in "$out"/*-gpu*/; do cp "$log" "$folder/log.txt"; done
