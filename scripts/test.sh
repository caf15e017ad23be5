#!/bin/sh
# Installs what the tests need into .venv, then lints, checks types and runs the tests.
# Arguments go to pytest, e.g. -m slow, or -k threshold.
set -eu
cd "$(dirname "$0")/.."
extra=dev
. scripts/setup.sh
ruff check .
ruff format --check .
mypy
exec python -m pytest --cov --cov-report=term "$@"
