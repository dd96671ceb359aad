#!/usr/bin/env bash
# Runs one command of Muster from the checkout of this action: `run.sh triage`.  MUSTER_PYTHON is its Python.
#
# -P and -s: the workspace and the user's own packages may hold modules of the same names, which are not ours.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
unset PYTHONHOME PYTHONSTARTUP
PYTHONPATH=$root exec "$MUSTER_PYTHON" -s -P -X utf8 -m app run "$1"
