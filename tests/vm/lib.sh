# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts here: where things are kept, and an apt with lists and sources of its own.

cache=${XDG_CACHE_HOME:-/var/cache}/flowtally-vm
PATH=$PATH:/usr/sbin:/sbin

# own_apt LISTS COMMAND...: apt-get or apt-cache; LISTS: amd64, arm64 or ubuntu (kernels), host (programs to run here).
own_apt() {
	local lists=$1 arch=amd64
	shift
	[ "$lists" != arm64 ] || arch=arm64

	"$@" -o Dir::Etc::sourcelist="$cache/apt/$lists/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State="$cache/apt/$lists" -o Dir::State::status=/dev/null -o Dir::Cache="$cache/apt/$lists/cache" \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Debug::NoLocking=1
}

# The mirror that this machine's apt uses, and that of security updates.
mirror() { # PATTERN
	apt-get indextargets --format '$(REPO_URI)' | sed -n "s|/*\$||; /$1/p" | sort -u | head -n 1
}

# Suites that a mirror no longer has are done without.
own_lists() { # LISTS
	local directory=$cache/apt/$1 key=/usr/share/keyrings/debian-archive-keyring.gpg debian security suite suites

	[ ! -f "$directory/done" ] || return 0
	suites='bullseye bookworm bookworm-backports trixie trixie-backports sid'
	[ "$1" != host ] || suites='bookworm bookworm-backports'
	debian=$(mirror '\/debian$') security=$(mirror 'debian-security$')
	mkdir -p "$directory"/{lists,cache/archives}/partial
	if [ "$1" = ubuntu ]; then # its key is not on a Debian machine; nothing of it is installed, it runs in a machine of its own
		printf "deb [trusted=yes arch=amd64] $UBUNTU_MIRROR %s main\n" focal-updates jammy-updates noble-updates
	else
		for suite in $suites; do
			echo "deb [signed-by=$key] $debian $suite main"
		done
		[ -z "$security" ] || printf "deb [signed-by=$key] $security %s-security main\n" bullseye bookworm
	fi >"$directory/sources.list"
	own_apt "$1" apt-get -qq update >"$directory/log" 2>&1 </dev/null || true
	[ -z "$(find "$directory/lists" -maxdepth 1 -name '*Packages*' -print -quit)" ] || touch "$directory/done"
}
