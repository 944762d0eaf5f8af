#!/usr/bin/env bash
# From a pretrained encoder to a bundle and a report, in an environment made for it: bash scripts/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/environment.sh .venv compress,report
HF_HUB_OFFLINE=1 .venv/bin/edgelm demo --output build/demo --overwrite "$@"
