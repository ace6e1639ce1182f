#!/bin/bash
# Make .venv with the project in it, and with the development tools too: python.sh [dev]
# Does nothing when all is there; starts over only when pyproject.toml or the interpreter changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

group=${1:-run}
python=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    exit 1
}

install_venv() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "this Python cannot make virtual environments (ensurepip is missing).
       Next step: install its venv package (Debian, Ubuntu: sudo apt-get install python3-venv)
       and run this again."
    fi
    echo "==> Install python3-venv with apt-get"
    deploy/setup/apt-install.sh python3-venv
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || fail \
    "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1 || true).
       Next step: install one and name it: make PYTHON=/usr/bin/python3.11"

wanted=$({ "$python" --version && cat pyproject.toml; } | sha256sum)
for done in ".venv/installed-$group" .venv/installed-dev; do # dev includes all that run needs
    if [ -f "$done" ] && [ "$(cat "$done")" = "$wanted" ]; then exit 0; fi
done

if ! .venv/bin/python -c 'import pip' 2>/dev/null ||
    [ "$(.venv/bin/python --version)" != "$("$python" --version)" ]; then
    "$python" -c 'import ensurepip' 2>/dev/null || install_venv
    echo "==> Make the virtual environment .venv"
    "$python" -m venv --clear .venv
fi
echo "==> Install the project's dependencies into .venv (a minute, most of it downloads)"
rm -f .venv/installed-*
pip=(.venv/bin/python -m pip install --disable-pip-version-check)
"${pip[@]}" --quiet --upgrade 'pip>=25.1' # the first that knows dependency groups
packages=(--editable .)
if [ "$group" = dev ]; then packages+=(--group dev); fi
"${pip[@]}" "${packages[@]}" | sed -unE '/^ *Downloading|^Successfully/ s/^ */    /p'
echo "$wanted" >".venv/installed-$group"
