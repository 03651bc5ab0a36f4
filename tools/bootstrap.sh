#!/bin/sh
# Makes .venv with everything of tools/requirements.lock, or finds at once that it is there already.
# bootstrap.sh LOCK FOLDER: the same for another lock and another folder.
# Needs CPython 3.11 or later with venv. As root on Debian it installs python3-venv where that is missing.
# $PYTHON names another interpreter. Works with whatever package index this machine is set up for.
set -eu
cd "$(dirname "$0")/.."

lock=${1:-tools/requirements.lock}
venv=${2:-.venv}
installed=$venv/installed.lock # a copy of the lock, written last; with another one the packages are brought up to date
# The command line for gateways.
link_meterport() { [ "$venv" != .venv ] || ln -sfn ../../tools/meterport "$venv/bin/meterport"; }
if [ -x "$venv/bin/python" ] && cmp -s "$lock" "$installed"; then
    link_meterport
    exit 0
fi

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# One at a time; a process that waited finds the work done.
mkdir -p build
guard=build/bootstrap.lock
waited=0
until mkdir "$guard" 2>/dev/null; do
    holder=$(cat "$guard/pid" 2>/dev/null || echo)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
        rm -rf "$guard" # its owner was killed
        continue
    fi
    [ "$waited" -eq 0 ] && say "waiting for another bootstrap (process ${holder:-unknown}) ..."
    waited=$((waited + 1))
    if [ "$waited" -gt 600 ]; then
        say "gave up after 10 minutes; remove $guard if no other bootstrap is running"
        exit 1
    fi
    sleep 1
done
echo $$ > "$guard/pid"
trap 'rm -rf "$guard"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -x "$venv/bin/python" ] && cmp -s "$lock" "$installed"; then
    exit 0
fi

# Prints the first interpreter that is CPython 3.11 or later.
find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' \
            >/dev/null 2>&1 </dev/null; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

# apt_install PACKAGE...: as root on Debian; otherwise says what to install, and gives up.
apt_install() {
    if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
        say "install CPython 3.11 or later with its venv module (Debian's names: $*), or name one in \$PYTHON"
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "please install first, as root: apt-get install $*"
        exit 1
    fi
    say "apt-get update, then install $* ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null </dev/null
    apt-get install -y -q --no-install-recommends "$@" >/dev/null </dev/null
}

python=$(find_python) || {
    if [ -n "${PYTHON:-}" ]; then
        say "PYTHON=$PYTHON is not CPython 3.11 or later"
        exit 1
    fi
    apt_install python3 python3-venv
    python=$(find_python) || {
        say "the system's python3 is older than 3.11; install CPython 3.11 or later, or name one in \$PYTHON"
        exit 1
    }
}
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
fi

version=$("$python" -c 'import platform; print(platform.python_version())')
# One of the same interpreter is kept, with what a lock has dropped since (make clean takes that away).
if ! "$venv/bin/python" -c "import platform, pip; assert platform.python_version() == '$version'" 2>/dev/null; then
    say "making $venv with CPython $version ..."
    "$python" -m venv --clear "$venv"
fi
rm -f "$installed"
say "installing $(grep -c '^[a-z]' "$lock") packages into $venv (half a minute when all are new) ..."
# -I: neither PYTHONPATH nor the user's own packages; -qq: errors only.
"$venv/bin/python" -I -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r "$lock" </dev/null
link_meterport
cp "$lock" "$installed"
say "done"
