#!/usr/bin/env bash
# Every check of this project, in an environment made for it: bash scripts/test.sh [PYTEST OPTIONS]
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/environment.sh .venv dev
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1
ruff check .
ruff format --check .
mypy
lint-imports
# Files of tests are shared among processes; what a file's tests make, they share in one.
python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
