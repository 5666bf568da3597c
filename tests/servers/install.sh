#!/bin/sh
# The real servers that the tests talk to, and what they boot a gateway and build its package with. Installs what is missing where it may, else says exactly what to type.
set -eu
missing=""
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
have mosquitto || missing="$missing mosquitto"
have influxd || missing="$missing influxdb"
have nginx || missing="$missing nginx-light"
have victoria-metrics || missing="$missing victoria-metrics"
have systemd-analyze || missing="$missing systemd"
have systemd-nspawn || missing="$missing systemd-container"
have debootstrap || missing="$missing debootstrap"
have dpkg-buildpackage || missing="$missing dpkg-dev"
have dh || missing="$missing debhelper"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  # A server that a package starts by itself is not wanted: the tests start their own on loopback.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "The tests need:$missing" >&2
  echo "  sudo apt-get install$missing" >&2
  exit 1
fi
