#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install_configuration.sh FILE PLACE: `meson install` runs it.  A configuration that is there is kept, and `ninja uninstall`
# does not know of it.
set -eu
place=${MESON_INSTALL_DESTDIR_PREFIX%"$MESON_INSTALL_PREFIX"}$2
[ -e "$place" ] || install -D -m 644 "$1" "$place"
