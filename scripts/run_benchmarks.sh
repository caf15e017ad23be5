#!/bin/sh
# Every scenario of every data set and every class of MNIST and CIFAR-10 alone, all methods, 3 seeds,
# into bench/<data set>/results.jsonl: tables 1 to 4 of the paper.
# Arguments go to clad bench, e.g. --methods pca-neighbours,ocsvm.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
for dataset in mnist gtsrb cifar10 tiny_imagenet; do
    clad bench "$dataset" --methods all --seeds 3 --out "bench/$dataset" "$@"
done
for dataset in mnist cifar10; do
    clad bench "$dataset" --scenarios one-class --methods all --seeds 3 --out "bench/$dataset" "$@"
done
