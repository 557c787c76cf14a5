#!/usr/bin/env bash
# Steps of `modern` here and in PyTorch, in alternation, on an otherwise idle machine. Prints a JSON line each.
#   PYTHON=venv/bin/python bench/steps.sh [rounds]
set -euo pipefail
cd "$(dirname "$0")"
alexnet=${ALEXNET:-../target/release/alexnet}
for round in $(seq "${1:-3}"); do
  for case in 'train 32' 'infer 32' 'infer 1'; do
    read -r task batch <<<"$case"
    "$alexnet" bench "$task" --batch-size "$batch" --steps 5 --format json | tr -d '\n ' && echo
    "${PYTHON:-python3}" step_torch.py "$task" --batch-size "$batch" --steps 5
  done
done
