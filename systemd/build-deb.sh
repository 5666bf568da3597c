#!/bin/sh
# Builds dist/labmon_VERSION_ARCH.deb: the wheel and what it needs, in an environment of Debian's Python, with the units.
# Needs no root; the same checkout and wheels give the same bytes. Built in LABMON_BUILD (build/deb), put into LABMON_DIST (dist).
set -eu
PATH=/usr/local/bin:/usr/bin:/bin
export PATH
cd "$(dirname "$0")/.."
top=$PWD
build=${LABMON_BUILD:-$top/build/deb}
dist=${LABMON_DIST:-$top/dist}
fail() {
    echo "$*" >&2
    exit 1
}
for file in /usr/bin/dpkg-buildpackage /usr/bin/dh /usr/bin/python3 /usr/lib/python3*/ensurepip; do
    [ -e "$file" ] || fail "make deb needs: sudo apt-get install dpkg-dev debhelper python3 python3-venv"
done
rm -rf "$build"
mkdir -p "$build/tools" "$dist"

/usr/bin/python3 -m venv "$build/tools"
pip() { "$build/tools/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@"; }
source=$build/labmon
mkdir -p "$source/wheels"
pip wheel --no-deps --wheel-dir "$source/wheels" "$top"
for wheel in "$source"/wheels/labmon-*.whl; do :; done
"$build/tools/bin/python" -m zipfile -e "$wheel" "$build/unpacked"
mv "$build/unpacked/labmon/shipped" "$source/shipped"
if [ -e "$source/shipped/requirements.lock" ]; then
    pip wheel --wheel-dir "$source/wheels" --require-hashes --requirement "$source/shipped/requirements.lock"
else
    pip wheel --wheel-dir "$source/wheels" "$wheel"
fi

cp -r systemd/debian "$source/debian"
version=${wheel##*/labmon-}
version=${version%%-*}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)}
export SOURCE_DATE_EPOCH
cat >"$source/debian/changelog" <<END
labmon ($version) stable; urgency=medium

  * Version $version.

 -- labmon maintainers <labmon@localhost>  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END
(cd "$source" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) >"$build/log" 2>&1 || {
    tail -n 40 "$build/log" >&2
    fail "the package was not built: $build/log"
}
mv "$build"/labmon_*.deb "$dist"/
for package in "$dist"/labmon_"$version"_*.deb; do echo "$package"; done
