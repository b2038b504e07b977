#!/bin/sh
# Installs what the tests use of the system and pip cannot bring: Redis, for the tests of the document store,
# PostgreSQL, for those of the arena's, and Chromium, for the tests marked `browser`. Does nothing where they are there, and never stops the tests:
# those that miss a program are skipped.

missing=""
command -v redis-server >/dev/null 2>&1 || missing="redis-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "Not here:" $missing "- their tests will be skipped. On Debian: sudo apt-get install" $missing
    exit 0
fi

log=$(mktemp) || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update >"$log" 2>&1
for program in $missing; do
    packages=$program
    if [ "$program" = chromium ]; then
        # Ubuntu's package of this name only hands over to snap, which needs a running snapd.
        if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null && ! command -v snap >/dev/null 2>&1; then
            echo "No chromium here, and Ubuntu offers it through snap only: the browser tests will be skipped"
            continue
        fi
        packages="chromium fonts-dejavu-core fonts-noto-color-emoji"
    fi
    echo "Installing $program for the tests (apt-get, once)"
    if ! apt-get install -y --no-install-recommends $packages >>"$log" 2>&1; then
        echo "$program could not be installed: its tests will be skipped. apt-get said:"
        tail -n 3 "$log"
    fi
done
rm -f "$log"
exit 0
