#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file is as clang-format would write it.  `ninja clang-format` in the build folder does it."""
import subprocess
import sys
import tree

sys.exit(subprocess.run(['clang-format-14', '--dry-run', '-Werror', *tree.c_files()], cwd=tree.ROOT).returncode)
