# SPDX-License-Identifier: Apache-2.0
"""Pictures of the dashboards in SVG, of what a Prometheus answers to their own queries; not drawn by Grafana.

pictures(server, seconds): server has query() and query_range(), as in tests/e2e/prometheus.py.
"""
import math
import re
from xml.sax.saxutils import escape

import expressions

UNIT = 50                     # pixels of a column of Grafana's 24
ROW = 30                      # and of a unit of height
GAP, HEAD, MARGIN = 6, 24, 34
INK, FAINT, EDGE = '#7d7d7d', '#7d7d7d', '#7d7d7d55'
COLORS = '#3b82c4', '#d9802e', '#3f9b57', '#b4559b', '#8f7a2f', '#5f6fd0', '#c0504d', '#2f8f8f'
NAMED = {'green': '#3f9b57', 'yellow': '#d9a02e', 'red': '#c0504d', 'blue': '#3b82c4'}
LEGEND_ROWS, LEGEND_HEIGHT, TABLE_HEIGHT = 4, 14, 18
SUFFIX = {'bps': 'b/s', 'Bps': 'B/s', 'pps': '/s', 'si:/s': '/s', 'bytes': 'B', 's': 's', 'short': ''}


def shown(value, unit):
    """A number as Grafana would write it, near enough."""
    if unit == 'percentunit':
        return f'{100 * value:.3g} %'
    for limit, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if abs(value) >= limit:
            return f'{value / limit:.3g} {letter}{SUFFIX[unit]}'
    if unit == 's' and value and abs(value) < 1e-3:
        return f'{value * 1e6:.3g} µs' if abs(value) >= 1e-6 else f'{value * 1e9:.3g} ns'
    return f'{value:.3g} {SUFFIX[unit]}'.rstrip()


def text(x, y, words, size=11, anchor='start', color=INK, more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{more}>'
            f'{escape(words)}</text>')


def cut(words, width, size=11):
    most = max(3, int(width / (size * 0.56)))
    return words if len(words) <= most else words[:most - 1] + '…'


def named(legend, labels):
    return re.sub(r'\{\{\s*(\w+)\s*\}\}', lambda match: labels.get(match[1], ''), legend).strip() or 'value'


def ask(server, panel, seconds):
    """[(name, labels, rows)]: of lines (time, value), else the value."""
    found = []
    for target in panel['targets']:
        query = expressions.replaced(target['expr'], '5s', f'{int(seconds)}s')
        answer = server.query(query) if target['instant'] else server.query_range(query, seconds, 2)
        found += [(named(target['legendFormat'], labels), labels, value) for labels, value in answer]
    return found


# --- Kinds of panels: what is inside (x, y, width, height).

def draw_legend(names, place, unit):
    x, y, width, height = place
    body = []
    for index, (name, color, value) in enumerate(names[:LEGEND_ROWS]):
        at = y + height - LEGEND_HEIGHT * (min(len(names), LEGEND_ROWS) - index) + 10
        body.append(f'<rect x="{x}" y="{at - 6:.1f}" width="10" height="3" fill="{color}"/>')
        more = f' and {len(names) - LEGEND_ROWS} more' if index == LEGEND_ROWS - 1 and len(names) > LEGEND_ROWS else ''
        body.append(text(x + 15, at, cut(name + more, width - 90, 10), 10))
        body.append(text(x + width, at, shown(value, unit), 10, 'end'))
    return body


def stacked(series):
    """Each upon those before it, by the times of the sums."""
    total, found = {}, []
    for name, labels, rows in series:
        for at, value in rows:
            total[at] = total.get(at, 0) + (0 if math.isnan(value) else value)
        found.append((name, labels, [(at, total[at]) for at, _ in rows]))
    return found


def scale(series, place):
    """The function from (time, value) to a place, and the least and greatest value."""
    x, y, width, height = place
    times = [at for _, _, rows in series for at, _ in rows]
    values = [value for _, _, rows in series for _, value in rows if not math.isnan(value)] + [0]
    low, high = min(values), max(values)
    high += (high - low) * 0.05 or 1
    begin, span = min(times), (max(times) - min(times)) or 1

    def put(at, value):
        return x + width * (at - begin) / span, y + height - height * (value - low) / (high - low)
    return put, low, high


def draw_lines(panel, found, place):
    x, y, width, height = place
    defaults = panel['fieldConfig']['defaults']
    negative = any(part['properties'][0]['id'] == 'custom.transform' for part in panel['fieldConfig']['overrides'])
    series = [(name, labels, [(at, -value if negative and name.endswith('egress') else value) for at, value in rows])
              for name, labels, rows in found]
    names = [(name, COLORS[index % len(COLORS)], abs(rows[-1][1])) for index, (name, _, rows) in enumerate(series)]
    if defaults['custom']['stacking']['mode'] == 'normal':
        series = stacked(series)
    plot = x + 58, y + 4, width - 62, height - 12 - LEGEND_HEIGHT * min(len(series), LEGEND_ROWS)
    put, low, high = scale(series, plot)
    body = []
    for value in (low, 0, (low + high) / 2, high):
        level = put(0, value)[1]
        body.append(f'<line x1="{plot[0]}" y1="{level:.1f}" x2="{plot[0] + plot[2]}" y2="{level:.1f}" stroke="{EDGE}"/>')
        if value == 0 or abs(level - put(0, 0)[1]) > 12:
            body.append(text(plot[0] - 4, level + 3, shown(abs(value), defaults['unit']), 9, 'end'))
    for index, (_, _, rows) in enumerate(series):
        path = ' '.join('{:.1f},{:.1f}'.format(*put(at, value)) for at, value in rows if not math.isnan(value))
        body.append(f'<polyline points="{path}" fill="none" stroke="{COLORS[index % len(COLORS)]}" stroke-width="1.4"/>')
    return body + draw_legend(names, place, defaults['unit'])


def draw_stat(panel, found, place):
    x, y, width, height = place
    defaults, value = panel['fieldConfig']['defaults'], found[0][2]
    words = shown(value, defaults['unit'])
    color = [step['color'] for step in defaults['thresholds']['steps'] if step['value'] is None or value >= step['value']][-1]
    for mapping in defaults['mappings']:
        chosen = mapping['options'].get(f'{value:g}')
        words, color = (chosen['text'], chosen['color']) if chosen else (words, color)
    return [text(x + width / 2, y + height / 2 + 10, words, 26, 'middle', NAMED[color])]


def draw_bars(panel, found, place):
    x, y, width, height = place
    unit = panel['fieldConfig']['defaults']['unit']
    rows = sorted(found, key=lambda row: -row[2])[:10]
    step, most, body = min(26, height / max(len(rows), 1)), rows[0][2] or 1, []
    for index, (name, _, value) in enumerate(rows):
        at = y + step * index
        body.append(text(x, at + step * 0.65, cut(name, 130), 10))
        body.append(f'<rect x="{x + 135}" y="{at + 3:.1f}" width="{(width - 205) * value / most:.1f}" '
                    f'height="{step - 6:.1f}" fill="{COLORS[0]}"/>')
        body.append(text(x + width, at + step * 0.65, shown(value, unit), 10, 'end'))
    return body


def draw_pie(panel, found, place):
    x, y, width, height = place
    rows = sorted(found, key=lambda row: -row[2])
    total, angle, body = sum(row[2] for row in rows) or 1, 0.0, []
    radius = min(height, width / 2) / 2 - 14
    middle, around = (x + radius + 14, y + height / 2), 2 * math.pi * radius
    for index, (name, _, value) in enumerate(rows):
        color, part = COLORS[index % len(COLORS)], around * value / total
        body.append(f'<circle cx="{middle[0]:.1f}" cy="{middle[1]:.1f}" r="{radius:.1f}" fill="none" stroke="{color}" '
                    f'stroke-width="22" stroke-dasharray="{part:.2f} {around - part:.2f}" stroke-dashoffset="{-angle:.2f}"/>')
        angle += part
        at = y + 20 + 16 * index
        body.append(f'<rect x="{x + width / 2 + 20:.1f}" y="{at - 8:.1f}" width="10" height="8" fill="{color}"/>')
        body.append(text(x + width / 2 + 36, at, f'{name}  {100 * value / total:.1f} %', 10))
    return body


def mapped(panel, column, value):
    for override in panel['fieldConfig']['overrides']:
        if override['matcher']['options'] == column and override['properties'][0]['id'] == 'mappings':
            return override['properties'][0]['value'][0]['options'].get(value, {}).get('text', value)
    return value


def draw_table(panel, found, place):
    x, y, width, height = place
    columns = panel['transformations'][-1]['options']['renameByName']
    unit = panel['fieldConfig']['defaults']['unit']
    rows = sorted(found, key=lambda row: -row[2]) if panel['options']['sortBy'] else found
    texts = [list(columns.values())]
    for _, labels, value in rows[:int(height / TABLE_HEIGHT) - 1]:
        texts.append([shown(value, unit) if label == 'Value' else mapped(panel, title, labels.get(label, ''))
                      for label, title in columns.items()])
    lengths = [min(max(len(row[index]) for row in texts), 90) + 2 for index in range(len(columns))]
    starts = [x + width * sum(lengths[:index]) / sum(lengths) for index in range(len(lengths))]
    return [text(start, y + 12 + TABLE_HEIGHT * number, cut(cell, width * length / sum(lengths), 10), 10,
                 more=' font-weight="bold"' if number == 0 else '')
            for number, row in enumerate(texts) for start, length, cell in zip(starts, lengths, row)]


def draw_text(panel, place):
    """Markdown as it stands, without its signs."""
    lines, most = [], int(place[2] / 6)
    for paragraph in panel['options']['content'].replace('**', '').replace('`', '').splitlines():
        line = ''
        for word in paragraph.strip('| ').replace(' | ', ': ').split():
            if len(line) + len(word) > most:
                lines.append(line)
                line = ''
            line += word + ' '
        lines += [line] if '---' not in line else []
    return [text(place[0], place[1] + 14 + 15 * index, line) for index, line in enumerate(lines)]


DRAW = {'timeseries': draw_lines, 'stat': draw_stat, 'bargauge': draw_bars, 'piechart': draw_pie, 'table': draw_table}


# --- The whole.

def draw_panel(server, panel, seconds):
    grid = panel['gridPos']
    x, y = grid['x'] * UNIT + GAP, grid['y'] * ROW + MARGIN
    width, height = grid['w'] * UNIT - GAP, grid['h'] * ROW - GAP
    if panel['type'] == 'row':
        return [text(x, y + 18, panel['title'], 14, more=' font-weight="bold"')]
    body = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="none" stroke="{EDGE}"/>',
            text(x + 8, y + 16, cut(panel['title'], width - 16, 12), 12, more=' font-weight="bold"')]
    place = x + 8, y + HEAD, width - 16, height - HEAD - 6
    if panel['type'] == 'text':
        return body + draw_text(panel, place)
    found = ask(server, panel, seconds)
    if not found:
        return body + [text(x + width / 2, y + height / 2, 'No data', 12, 'middle', FAINT)]
    return body + DRAW[panel['type']](panel, found, place)


def picture(server, board, seconds):
    height = max(panel['gridPos']['y'] + panel['gridPos']['h'] for panel in board['panels']) * ROW + MARGIN + GAP
    body = [part for panel in board['panels'] for part in draw_panel(server, panel, seconds)]
    return '\n'.join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * UNIT + GAP} {height}" role="img" '
                      f'font-family="sans-serif"><title>{escape(board["title"])}</title>',
                      text(GAP, 22, board['title'], 16), *body, '</svg>', ''])


def pictures(server, seconds):
    """{file name: SVG} of what was in the last so many seconds."""
    return {name.replace('.json', '.svg'): picture(server, board, seconds) for name, board in expressions.dashboards().items()}
