# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What ./check and ./torture share: build trees and results in build/check, counted at the end.

results=build/check/results
meson=/usr/bin/meson
start=$SECONDS
goals=(all) # what builds() has ninja build
export FLOWTALLY_PCAPS=${FLOWTALLY_PCAPS:-$PWD/../shared/pcaps}

begin_results() {
	rm -rf "$results"
	mkdir -p "$results"
}

# builds NAME CC BPF_CLANG [MESON_OPTION]...: the tree in build/check/NAME, warnings being errors.  One result.
builds() {
	local name=$1 cc=$2 clang=$3 dir=build/check/$1 log=$results/build-$1.log verdict=passed
	shift 3

	{
		[ -f "$dir/build.ninja" ] || CC=$cc "$meson" setup -Dwerror=true -Dtests=enabled \
			-Dbpf_clang="$clang" "$@" "$dir"
	} >"$log" 2>&1 </dev/null && ninja -C "$dir" "${goals[@]}" >>"$log" 2>&1 </dev/null || verdict=failed
	# With -Werror a warning of a compiler fails the build; this is for those of other tools.
	[ "$verdict" = failed ] || ! grep -q 'warning:' "$log" || verdict=failed
	printf '%s\t%s\n' "$verdict" "build $name" >>"$results/builds"
	echo "build $name: $verdict"
	[ "$verdict" = passed ] || tail -n 40 "$log"
	[ "$verdict" = passed ]
}

# tests BUILD [MESON_TEST_OPTION]...: runs what they select; results.py counts from meson's logs.
tests() {
	local build=$1 log=$results/tests-$1.log status=0
	shift

	"$meson" test -C "build/check/$build" --no-rebuild --logbase "check-$build" "$@" \
		>"$log" 2>&1 </dev/null || status=$?
	cp "build/check/$build/meson-logs/check-$build".{json,junit.xml} "$results" 2>/dev/null || true
	! /usr/bin/python3 tools/results.py summary "$results/check-$build" || [ "$status" -eq 0 ] || {
		printf '%s\t%s\n' failed "meson test in build/check/$build" >>"$results/builds"
		tail -n 20 "$log"
	}
}

# The closing line; its status is that of the script.
total() {
	echo "time: $((SECONDS - start)) s"
	/usr/bin/python3 tools/results.py total "$results"
}
