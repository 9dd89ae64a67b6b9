# SPDX-License-Identifier: Apache-2.0
"""A kernel that lacks what the exporter needs: it says so clearly, and ends with status 1."""
import re

import machine
import program
from machine import point
from tap import check, check_equal


def main():
    with point('refused, and what the kernel lacks is named'):
        status, _, stderr = program.run('run', '--interface', 'lo', path=machine.BIN / 'flowtally')
        (machine.LOGS / 'old.stderr').write_text(stderr, encoding='utf-8')
        check_equal('exit status', status, 1)
        check('ready' not in stderr, stderr)
        said = re.search(r'kernel \S+ is too old: .*\d\.\d.*', stderr)
        check(said, 'it does not say what is missing:', stderr)
        machine.fact('refused', 'too old', said[0])


if __name__ == '__main__':
    main()
