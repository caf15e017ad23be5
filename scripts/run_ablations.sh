#!/bin/sh
# Every ablation of configs/ablation, rows and plots into ablations/. Arguments go to clad ablate,
# e.g. --seeds 3 --jobs 2.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
for file in configs/ablation/*.yaml; do
    clad ablate "$file" "$@"
done
