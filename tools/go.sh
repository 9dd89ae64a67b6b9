# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Go for what the tests need and no package has.  Debian 12 has 1.19, which is too old for all of it.
#
# want_go: afterwards `go` is new enough: that of PATH, or one that is fetched into a cache of its own, 260 MB.  Fails and
# says why.  Debian's Go, unpacked and not installed, fetches the newer one as the Go module that it is, so that its sum is
# that of the public log of sums.
# The cache: ${XDG_CACHE_HOME:-/var/cache}/flowtally-go.

go_wanted=1.24.6 # of the newest go.mod that is built

go_is_new() {
	command -v "$1" >/dev/null && printf 'go%s\n%s\n' "$go_wanted" "$("$1" env GOVERSION 2>/dev/null)" | sort -V -C
}

go_fetch() { # DIRECTORY
	local arch temporary=$1.new module=golang.org/toolchain@v0.0.1-go$go_wanted

	arch=$(dpkg --print-architecture) || return 1
	rm -rf "$temporary"
	mkdir -p "$temporary/old"
	(
		cd "$temporary" && apt-get -qq download golang-1.19-go && dpkg-deb -x ./*.deb old &&
			GOROOT=$PWD/old/usr/lib/go-1.19 GOPATH=$PWD/path GOCACHE=$PWD/cache GOENV=off GO111MODULE=on GOFLAGS=-modcacherw \
				old/usr/lib/go-1.19/bin/go mod download "$module.linux-$arch"
	) || return 1
	# A module has no right to be run.
	chmod -R u+x "$temporary/path/pkg/mod/$module.linux-$arch/bin" "$temporary/path/pkg/mod/$module.linux-$arch/pkg/tool" || return 1
	rm -rf "$1"
	mv "$temporary/path/pkg/mod/$module.linux-$arch" "$1"
	rm -rf "$temporary"
}

want_go() {
	local directory=${XDG_CACHE_HOME:-/var/cache}/flowtally-go

	export GOTOOLCHAIN=local
	go_is_new go && return
	if ! go_is_new "$directory/bin/go"; then
		mkdir -p "${directory%/*}"
		go_fetch "$directory" || {
			echo "Go $go_wanted or newer is not here, and cannot be fetched" >&2
			return 1
		}
	fi
	export PATH=$directory/bin:$PATH
}
