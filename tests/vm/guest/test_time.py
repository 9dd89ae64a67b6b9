# SPDX-License-Identifier: Apache-2.0
"""Times of flows by an exporter in a time namespace, as in tests/e2e/test_clock.py: not every machine allows one."""
import machine
import program
import test_clock
from machine import point

SLACK_SECONDS = 10  # of an emulated machine; a wrong clock is a day off
IDLE = '60s'


def main():
    program.READY_SECONDS = program.STOP_SECONDS = machine.PATIENCE
    test_clock.SLACK_SECONDS = SLACK_SECONDS
    with point('time: flows in a time namespace'):
        test_clock.test_namespace(IDLE, *machine.SMALL, '--ingress', 'tc', '--egress', 'off')


if __name__ == '__main__':
    main()
