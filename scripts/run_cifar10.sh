#!/bin/sh
# Every scenario of this data set; arguments go to clad run, e.g. --preset paper --seed 1.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec clad run cifar10 --scenario all "$@"
