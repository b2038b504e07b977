#!/bin/sh
# Installs what the tests use of the system and pip cannot bring: Chromium, for the tests marked `browser`.
# Does nothing where it is there, and never stops the tests: without Chromium those tests are skipped.

command -v chromium >/dev/null 2>&1 && exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "No chromium here: the browser tests will be skipped. On Debian: sudo apt-get install chromium"
    exit 0
fi

# Ubuntu's package of this name only hands over to snap, which needs a running snapd.
if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null && ! command -v snap >/dev/null 2>&1; then
    echo "No chromium here, and Ubuntu offers it through snap only: the browser tests will be skipped"
    exit 0
fi

echo "Installing chromium for the browser tests (apt-get, once)"
log=$(mktemp) || exit 0
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core fonts-noto-color-emoji; } >"$log" 2>&1; then
    echo "Chromium could not be installed: the browser tests will be skipped. apt-get said:"
    tail -n 3 "$log"
fi
rm -f "$log"
exit 0
