#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""shellcheck over every shell script."""
import subprocess
import sys
import tree

sys.exit(subprocess.run(['shellcheck', '-x', *tree.shell_scripts()], cwd=tree.ROOT).returncode)
