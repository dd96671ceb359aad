#!/usr/bin/env bash
# Finds or makes the environment that Muster runs in: `prepare.sh look`, `place` and `install`, in this order.
#
# Only the runner's own variables, MUSTER_PYTHON and MUSTER_FOLDER are read, and only outputs are written.  Python is
# started with -I, or it would take modules from the workspace, where anybody's files may lie.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$here/../requirements/actions.txt

# look: a Python on this machine that Muster is tested on; an empty output says that one has to be fetched.
look() {
  case ${RUNNER_OS:-} in
    Linux | macOS) ;;
    *)
      echo "::error title=Muster::Muster's actions run on Linux and macOS runners, and this one is ${RUNNER_OS:-none}."
      exit 1
      ;;
  esac
  local fits='import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
  local found='' python
  for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -I -c "$fits" >/dev/null 2>&1; then
      found=$(command -v "$python")
      break
    fi
  done
  echo "python=$found" >>"$GITHUB_OUTPUT"
}

# place: where the environment stands, and under which key it is kept: another lock, Python or machine is another one.
place() {
  local key folder
  key=$(
    "$MUSTER_PYTHON" -I - "$lock" <<'END'
import hashlib, pathlib, platform, sys

lock = pathlib.Path(sys.argv[1]).read_bytes()
made_of = (*platform.libc_ver(), sys.version, sys.base_prefix, sys.executable)
digest = hashlib.sha256(b"\0".join((lock, *(part.encode() for part in made_of)))).hexdigest()[:24]
print("muster", sys.platform, platform.machine(), platform.python_version(), digest, sep="-")
END
  )
  folder=$RUNNER_TEMP/$key
  {
    echo "key=$key"
    echo "folder=$folder"
    echo "python=$folder/bin/python"
    if [ -e "$folder/ready" ]; then echo ready=true; else echo ready=false; fi
  } >>"$GITHUB_OUTPUT"
}

# install: the locked wheels into MUSTER_FOLDER, unless it is whole and starts; anything else is thrown away.
install() {
  if [ -e "$MUSTER_FOLDER/ready" ] && "$MUSTER_FOLDER/bin/python" -I -c '' >/dev/null 2>&1; then
    return
  fi
  rm -rf "$MUSTER_FOLDER"
  echo "::group::Installing what Muster runs on"
  if ! { "$MUSTER_PYTHON" -I -m venv "$MUSTER_FOLDER" \
    && "$MUSTER_FOLDER/bin/python" -I -m pip --disable-pip-version-check --no-input install \
      --no-deps --only-binary :all: --require-hashes --requirement "$lock"; }; then
    echo "::endgroup::"
    echo "::error title=Muster::What Muster runs on could not be installed: the log of this step says why." \
      "Run it again; a runner without the internet needs PIP_INDEX_URL in its environment."
    exit 1
  fi
  echo "::endgroup::"
  touch "$MUSTER_FOLDER/ready"
  echo "installed=true" >>"$GITHUB_OUTPUT"
}

case ${1:-} in
  look | place | install) "$1" ;;
  *)
    echo "usage: prepare.sh look|place|install" >&2
    exit 2
    ;;
esac
