#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py BUILD [--quick]: measures, prints a table, and writes it to BUILD/bench with its pictures."""
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

import bulk
import draw
import nodes
import peers
import rates
import reload
import table
import views


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        names = [line.split(':', 1)[1].strip() for line in file if line.startswith(('model name', 'CPU implementer'))]
    return {'cpu': names[0] if names else platform.machine(), 'cpus': os.cpu_count(), 'kernel': platform.release(),
            'memory': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 'load': f'{os.getloadavg()[0]:.1f}'}


def measure(build, quick):
    tools, binary = build / 'tests' / 'bench', build / 'flowtally'
    steps = {'programs': lambda: rates.programs(tools, quick), 'stages': lambda: rates.stages(tools, quick),
             'drops': lambda: rates.drops(tools, quick), 'block': lambda: rates.block(tools, quick),
             'encode': lambda: rates.encode(tools, quick),
             'peers': lambda: peers.compare(tools, binary, quick), 'flood': lambda: peers.flood(tools, binary, quick),
             'memory': lambda: peers.memory(tools, binary, quick), 'idle': lambda: peers.idle(binary, quick),
             'reload': lambda: reload.measure(binary, quick),
             'nodes': lambda: nodes.measure(tools, quick),
             'bulk': lambda: bulk.measure(tools, binary, quick), 'views': lambda: views.measure(tools, build, quick)}
    start = time.monotonic()
    result = {'command': './bench --quick' if quick else './bench', 'machine': machine()}
    for name, step in steps.items():
        print(f'bench: {name} ...', file=sys.stderr, flush=True)
        result[name] = step()
    result['seconds'] = time.monotonic() - start
    return result


def main():
    arguments = sys.argv[1:]
    quick = '--quick' in arguments
    folders = [word for word in arguments if not word.startswith('-')]
    if len(folders) != 1 or len(arguments) != 1 + quick:
        sys.exit('usage: bench.py BUILD [--quick]')
    if os.cpu_count() < 2:
        sys.exit('bench: two CPUs are needed, one for the load and one for the exporters')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('bench: terminated'))  # so that what it made is removed
    build = Path(folders[0]).resolve()
    result = measure(build, quick)
    out = build / 'bench'
    out.mkdir(exist_ok=True)
    (out / 'bench.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    for name, svg in draw.pictures(result).items():
        (out / name).write_text(svg, encoding='utf-8')
    text = '\n'.join(table.table(result)) + '\n'
    (out / 'bench.txt').write_text(text, encoding='utf-8')
    print(text, end='')


main()
