#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh FUZZER SECONDS: a short run from the fuzzer's own seeds, in a folder that is thrown away.
set -eu
fuzzer=$1 seconds=$2
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
"$fuzzer" --write-seeds "$corpus"
"$fuzzer" -max_total_time="$seconds" -max_len=512 -reload=0 -print_final_stats=1 "$corpus"
