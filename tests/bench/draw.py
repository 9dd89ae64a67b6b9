# SPDX-License-Identifier: Apache-2.0
"""Pictures from the benchmark's JSON.  Readable on light and on dark ground: no background, mid-tones."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 48, 56
INK = '#7d7d7d'
COLORS = '#3b82c4', '#d9802e', '#3f9b57', '#b4559b', '#8f7a2f', '#5f6fd0'


def text(x, y, words, anchor='middle', size=13, more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}" {more}>'
            f'{escape(words)}</text>')


def line(x, y, x2, y2, color=INK, width=1.0, dash=''):
    dash = f' stroke-dasharray="{dash}"' if dash else ''
    return (f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"{dash}/>')


def document(title, body):
    return '\n'.join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
                      f'font-family="sans-serif"><title>{escape(title)}</title>',
                      text(LEFT, 24, title, 'start', 16), *body, '</svg>', ''])


def ticks(highest):
    """Round steps of an axis from 0, at most seven."""
    step = 10 ** math.floor(math.log10(highest))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2) if highest / (step * factor) <= 7)
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def axes(marks, unit_y, label_x):
    """The frame, with the marks of the y axis; returns it and the function from a value to its y."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def place(value):
        return bottom - (bottom - TOP) * value / marks[-1]

    body = [line(LEFT, bottom, right, bottom), line(LEFT, TOP, LEFT, bottom)]
    for mark in marks:
        body.append(line(LEFT, place(mark), right, place(mark), width=0.3))
        body.append(text(LEFT - 8, place(mark) + 4, f'{mark:g}', 'end'))
    body.append(text(18, (TOP + bottom) / 2, unit_y, more=f'transform="rotate(-90 18 {(TOP + bottom) / 2:.1f})"'))
    body.append(text((LEFT + right) / 2, HEIGHT - 14, label_x))
    return body, place


def curves(title, label_x, unit_y, series):
    """series: {name: {x: (low, middle, high)}}, x on a logarithmic axis; a bar spans the quartiles."""
    xs = sorted({x for points in series.values() for x in points})
    highest = max(high for points in series.values() for _, _, high in points.values())
    body, place = axes(ticks(highest), unit_y, label_x)
    span = math.log10(xs[-1]) - math.log10(xs[0]) or 1

    def across(x):
        return LEFT + 24 + (WIDTH - RIGHT - LEFT - 48) * (math.log10(x) - math.log10(xs[0])) / span

    body += [text(across(x), HEIGHT - BOTTOM + 18, f'{x:,}') for x in xs]
    for number, (name, points) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        dash = '6 4' if number % 2 else ''
        placed = [(across(x), *map(place, points[x])) for x in sorted(points)]
        path = ' '.join(f'{x:.1f},{middle:.1f}' for x, _, middle, _ in placed)
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"'
                    + (f' stroke-dasharray="{dash}"/>' if dash else '/>'))
        for x, low, middle, high in placed:
            body.append(line(x, low, x, high, color, 1.5))
            body.append(f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="3.5" fill="{color}"/>')
        y = TOP + 12 + 20 * number
        body.append(line(WIDTH - RIGHT + 16, y, WIDTH - RIGHT + 44, y, color, 2, dash))
        body.append(text(WIDTH - RIGHT + 50, y + 4, name, 'start'))
    return document(title, body)


def bars(title, unit_y, label_x, groups, parts):
    """groups: {name: (note, [value of each part])}, stacked; parts: names for the legend."""
    body, place = axes(ticks(max(sum(values) for _, values in groups.values()) * 1.08), unit_y, label_x)
    slot = (WIDTH - RIGHT - LEFT) / len(groups)
    for number, (name, (note, values)) in enumerate(groups.items()):
        x, base = LEFT + slot * (number + 0.5), 0.0
        for value, color in zip(values, COLORS):
            top = place(base + max(value, 0))
            body.append(f'<rect x="{x - slot * 0.3:.1f}" y="{top:.1f}" width="{slot * 0.6:.1f}" '
                        f'height="{place(base) - top:.1f}" fill="{color}"/>')
            base += max(value, 0)
        body.append(text(x, place(base) - 6, note, size=12))
        body.append(text(x, HEIGHT - BOTTOM + 18, name, size=10))
    for number, (part, color) in enumerate(zip(parts, COLORS)):
        y = TOP + 12 + 20 * number
        body.append(f'<rect x="{WIDTH - RIGHT + 16}" y="{y - 8}" width="16" height="12" fill="{color}"/>')
        body.append(text(WIDTH - RIGHT + 40, y + 3, part, 'start'))
    return document(title, body)


def by_flows(rows, hook, method, programs):
    """{program: {flows: (low, median, high)}} of the steady IPv4 loads."""
    series = {}
    for row in rows:
        words = row['load'].split()
        if (row['hook'], row['method']) != (hook, method) or row['program'] not in programs:
            continue
        if len(words) == 2 and words[0].isdigit():
            ns = row['ns']
            series.setdefault(row['program'], {})[int(words[0])] = (ns['low'], ns['median'], ns['high'])
    return series


def pictures(result):
    """{file name: SVG}."""
    drawn = {}
    for hook in sorted({row['hook'] for row in result['programs']}):
        series = {}
        for method, words in (('live', ''), ('loop', ' (alone)')):
            for program, points in by_flows(result['programs'], hook, method, ('floor', 'flowtally')).items():
                series[program + words] = points
        if series:
            title = f'ns per packet, less an empty program: {hook}'
            drawn[f'packet-{hook.replace(" ", "-")}.svg'] = curves(title, 'flows', 'ns per packet', series)
    maps = by_flows(result['programs'], 'xdp', 'loop', ('flowtally', 'flowtally, plain hash', 'flowtally, per-CPU LRU'))
    if maps:
        drawn['maps.svg'] = curves('Types of map: ns per packet, XDP, alone', 'flows', 'ns per packet', maps)
    for load in dict.fromkeys(row['load'] for row in result.get('peers', [])):
        groups = {row['name']: (f'{row["accounted_share"]:.1%}', [row['path_seconds'], row['daemon_seconds']])
                  for row in result['peers'] if row['load'] == load and row['name'] != 'none'}
        title = f'CPU seconds for a million packets, {load}; above: packets counted'
        drawn[f'peers-{load.split()[0]}.svg'] = bars(title, 'CPU seconds', 'exporter', groups,
                                                     ['on the path', 'in the exporter'])
    return drawn
