#!/bin/sh
# Puts a gateway into service, upgrades it in place, and removes it.
#
#   sudo sh systemd/install.sh                     from this checkout
#   sudo sh install.sh labmon-VERSION.whl          from a wheel
#        --no-start    installs, starts nothing (a machine for labmon-ingest or labmon-watch alone)
#   sudo sh systemd/install.sh --remove            removes the program; journal, configuration and user stay
#   sudo sh systemd/install.sh --purge --yes       removes everything, the journal too
#
# Each version gets an environment of its own under /opt/labmon/environments, made with Debian's own Python; a user's
# Python lies in a home, where the services cannot see it. /opt/labmon/current leads to the one in service and is
# switched only when the new one has read the site file and knows the journal. When the new one does not come up,
# everything is switched back.
set -eu
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

place=/opt/labmon
current=$place/current
python=/usr/bin/python3
site=/etc/labmon/site.yaml
local=/usr/local/lib
services="labmon labmon-ingest labmon-watch"

say() { echo "labmon: $*"; }
fail() {
    echo "labmon: $*" >&2
    exit 1
}
usage() {
    sed -n '3,8s/^# \{0,1\}//p' "$0"
    exit "$1"
}

wheel='' action=install start=yes sure=no
while [ $# -gt 0 ]; do
    case $1 in
    --remove) action=remove ;;
    --purge) action=purge ;;
    --yes) sure=yes ;;
    --no-start) start=no ;;
    -h | --help) usage 0 ;;
    -*) usage 2 >&2 ;;
    *) [ -z "$wheel" ] || usage 2 >&2 && wheel=$1 ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || fail "this needs root: sudo sh $0"
[ -d /run/systemd/system ] || fail "systemd does not run here"
if command -v dpkg-query >/dev/null && dpkg-query -W -f '${db:Status-Status}' labmon 2>/dev/null | grep -qx installed; then
    fail "the Debian package labmon is installed here: upgrade or remove it with apt"
fi
exec 9>/run/labmon-install.lock
flock -n 9 || fail "another installation is under way"

# ---------------------------------------------------------------- pieces

files_of() { # environment: the folder of unit files and the like that came with it
    for folder in "$1"/lib/python3*/site-packages/labmon/shipped; do echo "$folder"; done
}

put_files() { # environment
    from=$(files_of "$1")
    for service in $services labmon-credentials; do
        install -D -m 644 "$from/systemd/$service.service" "$local/systemd/system/$service.service"
    done
    install -D -m 644 "$from/systemd/labmon.sysusers" "$local/sysusers.d/labmon.conf"
    install -D -m 644 "$from/systemd/labmon.tmpfiles" "$local/tmpfiles.d/labmon.conf"
    for rule in "$from"/config/udev/*.rules; do
        [ ! -e "$rule" ] || install -D -m 644 "$rule" "/etc/udev/rules.d/${rule##*/}"
    done
    systemctl daemon-reload
}

active() { # the services that run now, or would if they came up
    for service in $services; do
        case $(systemctl is-active "$service" 2>/dev/null) in
        active | activating | reloading) printf '%s ' "$service" ;;
        esac
    done
}

restart() { # services: 0 when each has said READY
    for service; do
        systemctl restart "$service" || return 1
        say "$service is in service"
    done
}

switch() { # environment: in one step, so that there is a whole one at any moment
    ln -sfn "environments/${1##*/}" "$current.new"
    mv -T "$current.new" "$current"
}

# ---------------------------------------------------------------- remove, purge

remove() {
    for service in $services labmon-credentials; do
        systemctl disable --now --quiet "$service" 2>/dev/null || :
        rm -f "$local/systemd/system/$service.service"
    done
    rm -f /etc/udev/rules.d/*-labmon.rules
    rm -f "$local/tmpfiles.d/labmon.conf" "$local/sysusers.d/labmon.conf"
    [ "$(readlink /usr/local/bin/labmon || :)" != $current/bin/labmon ] || rm -f /usr/local/bin/labmon
    rm -rf "$place" /run/labmon-credentials
    systemctl daemon-reload
    systemctl reset-failed "labmon*" 2>/dev/null || :
    say "the program is removed"
}

case $action in
remove)
    remove
    say "kept: /etc/labmon, /var/lib/labmon*, user labmon. An installation finds them again."
    exit 0
    ;;
purge)
    [ $sure = yes ] || fail "this would delete the journal: every record that no store has. If you mean it: --purge --yes"
    remove
    rm -rf /etc/labmon /var/lib/labmon /var/lib/labmon-ingest /var/lib/labmon-watch
    ! getent passwd labmon >/dev/null || userdel labmon
    ! getent group labmon >/dev/null || groupdel labmon
    say "configuration, journal and user are deleted"
    exit 0
    ;;
esac

# ---------------------------------------------------------------- a new environment beside the present one

[ -x $python ] || fail "Python is missing: sudo apt-get install python3 python3-venv"
$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "labmon needs Python 3.11 or later as $python"
$python -c 'import ensurepip' 2>/dev/null || fail "python3-venv is missing: sudo apt-get install python3-venv"

work=$(mktemp -d)
new=''
clean() {
    rm -rf "$work"
    # Whatever was not put into service goes.
    if [ -n "$new" ] && [ "$(readlink -f $current || :)" != "$new" ]; then rm -rf "$new"; fi
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

old=''
[ ! -e $current ] || old=$(readlink -f $current)
mkdir -p $place/environments
new=$(mktemp -d $place/environments/XXXXXX)
chmod 755 "$new"
say "makes an environment in $new"
$python -m venv "$new"
pip() { "$new/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@" || fail "pip failed, nothing is changed"; }

if [ -z "$wheel" ]; then
    source=$(cd "$(dirname "$0")/.." && pwd)
    [ -e "$source/pyproject.toml" ] || fail "no checkout around $0: name a wheel"
    say "builds labmon from $source"
    pip wheel --no-deps --wheel-dir "$work" "$source"
    for wheel in "$work"/labmon-*.whl; do :; done
fi
[ -f "$wheel" ] || fail "$wheel is no file"
pip install --no-deps "$wheel"
shipped=$(files_of "$new")
[ -e "$shipped/systemd/labmon.service" ] || fail "$wheel is no wheel of labmon, or of one too old to be a service"
if [ -e "$shipped/requirements.lock" ]; then
    say "installs what it needs, by its locked list"
    pip install --require-hashes --requirement "$shipped/requirements.lock"
else
    say "installs what it needs"
    pip install "$wheel"
fi
pip check
install -D -m 755 "$shipped/systemd/gather-credentials" "$new/libexec/gather-credentials"

# ---------------------------------------------------------------- what the new one says of this gateway

version=$("$new/bin/labmon" --version) || fail "the new environment does not work, nothing is changed"
install -D -m 644 "$shipped/systemd/labmon.sysusers" "$work/labmon.conf"
systemd-sysusers "$work/labmon.conf"
first=no
if [ ! -e $site ]; then
    first=yes
    install -D -m 640 -o root -g labmon "$shipped/config/first-site.yaml" $site
    say "puts a first site file to $site"
fi
systemd-tmpfiles --create "$shipped/systemd/labmon.tmpfiles"
as_labmon() { runuser -u labmon -- "$@"; }
as_labmon "$new/bin/labmon" check $site >"$work/checked" 2>&1 || {
    cat "$work/checked" >&2
    fail "$version refuses $site. Nothing is changed; what was in service is in service"
}
as_labmon "$new/bin/python" - $site <<'END' || fail "$version does not know this journal. Nothing is changed"
import sqlite3, sys
from pathlib import Path
from labmon.config.load import load_site
from labmon.journal.schema import STEPS

site = load_site(Path(sys.argv[1])).site
path = Path(sys.argv[1]).parent / site.journal.path
if path.exists():
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    if version > len(STEPS):
        sys.exit(f"labmon: the journal {path} has schema {version}, this version knows up to {len(STEPS)}")
END

# ---------------------------------------------------------------- the switch

running=$(active)
switch "$new"
put_files "$new"
if [ -L /usr/local/bin/labmon ] || [ ! -e /usr/local/bin/labmon ]; then
    ln -sfn $current/bin/labmon /usr/local/bin/labmon
fi
if command -v udevadm >/dev/null && udevadm control --reload 2>/dev/null; then
    udevadm trigger --subsystem-match=usb-serial --subsystem-match=tty 2>/dev/null || :
fi
if [ -z "$old" ] && [ $start = yes ]; then
    systemctl enable --quiet labmon
    running=labmon
fi

# shellcheck disable=SC2086
if ! restart $running; then
    journalctl --no-pager --lines 20 --unit labmon --unit labmon-ingest --unit labmon-watch >&2 || :
    [ -n "$old" ] || fail "$version is installed but does not start: see above, and journalctl -u labmon"
    say "$version does not start: goes back to the version before" >&2
    switch "$old"
    put_files "$old"
    # shellcheck disable=SC2086
    restart $running || fail "the version before does not start either: journalctl -u labmon"
    fail "$version was not taken into service; the version before is in service again"
fi
for environment in "$place"/environments/*; do
    [ "$environment" = "$new" ] || rm -rf "$environment"
done

say "$version is installed"
case " $running " in
*" labmon "*)
    tries=20
    until $current/bin/labmon status >"$work/answer" 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "labmon runs but does not answer: journalctl -u labmon"
        sleep 0.5
    done
    sed 's/^/  /' "$work/answer"
    ;;
esac
if [ $first = yes ]; then
    cat <<END

Now:
  1. Describe this gateway in $site. Secrets: one file each in /etc/labmon/credentials.
  2. labmon check $site
  3. systemctl restart labmon, and: labmon status
  Staff who may use the command line: adduser NAME labmon, and name them as system-user in the site file.
  Store and dead man's switch: systemctl enable --now labmon-ingest, labmon-watch (where they are to run).
END
elif [ -z "$running" ]; then
    say "nothing was running, so nothing was started: systemctl enable --now labmon"
fi
