#!/bin/sh
# The main job on scikit-learn's handwritten digits: 0, 3 and 8, mixed and unlabelled, are normal.
# Sets itself up in .venv. Arguments go to clad run, e.g. --seed 1.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec clad run digits --scenario CUR "$@"
