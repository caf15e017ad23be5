#!/bin/sh
# Every scenario of every data set, all methods, 3 seeds, into bench/<data set>/results.jsonl.
# Arguments go to clad bench, e.g. --methods pca-neighbours,ocsvm.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
for dataset in mnist gtsrb cifar10 tiny_imagenet; do
    clad bench "$dataset" --methods all --seeds 3 --out "bench/$dataset" "$@"
done
