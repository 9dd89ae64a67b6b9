# SPDX-License-Identifier: Apache-2.0
"""Compares records, as others read them, with what is known of their packets (packet_facts.py)."""
import re

import collect
import elements
import strict
import wire_records
from elements import ELEMENTS, symbols_of
from tap import check, check_equal


TEXTS = {'dropReasonName', 'interfaceName', 'interfaceDescription'}


def wanted_of(values, names):
    """What a record of the template with these symbols has, of what is known of its packets"""
    return {symbol: values[symbol] for symbol in symbols_of(names, values['IP_VERSION'])}


def compare(reader, expected, got):
    """Two lists of {symbol: value}; records are told apart by their values alone."""
    check_equal(f'records by {reader}', len(got), len(expected))
    left, lines = list(got), []
    for wanted in expected:
        best = min(left, key=lambda record, wanted=wanted: sum(record.get(name) != value for name, value in wanted.items()))
        left.remove(best)
        lines += [f'{ELEMENTS[name].name} ({name}): expected {wanted.get(name, "no such field")!r}, got '
                  f'{best.get(name, "no such field")!r}'
                  for name in sorted(wanted.keys() | best.keys()) if wanted.get(name) != best.get(name)]
    check(not lines, f'{reader} reads something else than was in the packets:', *lines[:20])


def value_of_own(name, octets):
    return octets.rstrip(b'\0').decode() if name == 'DROP_REASON_NAME' else int.from_bytes(octets, 'big')


def by_tshark(record, names, version):
    """{symbol: value} of what tshark shows of a record in a template with these symbols."""
    v9 = record.version == 9
    shown = {(v9 and ELEMENTS[symbol].v9_shown) or ELEMENTS[symbol].shown: symbol for symbol in symbols_of(names, version)}
    unknown = record.fields.keys() - shown.keys()
    check(not unknown, f'template {record.template}: tshark shows {sorted(unknown)}, which should not be there')
    return {shown[name]: value_of_own(shown[name], value) if isinstance(value, bytes) else value
            for name, value in record.fields.items()}


def version_of(record):
    return 6 if 'srcaddrv6' in record.fields else 4


def in_protocol(wanted, v9):
    """What tshark shows of it: no strings that are empty"""
    return {symbol: value & 0xff if v9 and symbol == 'TCP_FLAGS_16' else value
            for symbol, value in wanted.items() if (not v9 or ELEMENTS[symbol].v9) and value != ''}


def check_wire(name, inbox, path, names, expected, families):
    """Records of one kind on the wire; families: {template id: IP version}"""
    inbox.write(path)
    records = [record for record in wire_records.read(path, inbox.port) if record.template in families]
    v9 = records[0].version == 9 if records else False
    compare(f'tshark ({name})', [in_protocol(wanted_of(values, names), v9) for values in expected],
            [by_tshark(record, names, version_of(record)) for record in records])
    check_equal(f'{name}: templates by IP version', {families[record.template] - version_of(record) for record in records}, {0})


def check_layouts(name, inbox, names, families):
    """The templates have elements of the numbers and lengths of the registries, and the decoder's keys are the table's."""
    decoder = strict.Decoder()
    for port, payload in inbox.take():
        decoder.feed(port, 0, payload)
    for (version, template), layout in decoder.layouts.items():
        if template not in families:
            continue
        v9 = version == strict.NETFLOW9
        wanted = {(e.enterprise, e.v9 if v9 else e.number, e.v9_octets if v9 else e.octets): symbol
                  for symbol, e in ((symbol, ELEMENTS[symbol]) for symbol in symbols_of(names, families[template]))
                  if e.v9 or not v9}
        odd = set(layout.fields) ^ wanted.keys()
        check(not odd, f'{name}: template {template}: (enterprise, element, octets) that are wrong or missing: {sorted(odd)}')
        keys = sum(1 << i for i, field in enumerate(layout.fields) if wanted[field] in elements.KEYS)
        said = [record.number(173) for record in decoder.records(options=True)
                if record.has(173) and record.number(145) == template]
        check_equal(f'{name}: flowKeyIndicator of template {template}', set(said), {keys})


def symbol_by_name(names, version):
    return {ELEMENTS[symbol].name: symbol for symbol in symbols_of(names, version)}


def text_value(name, text):
    """A value as ipfixDump writes it"""
    if 'Milliseconds' in name and 'Duration' not in name:
        return collect.milliseconds(text)
    if 'Mac' in name:
        return text.lower()
    if 'Address' in name:
        return collect.address(text)
    return re.sub(r'^\(len: \d+\) ', '', text) if name in TEXTS else int(text, 0)


def by_fixbuf(fields, names):
    """ipfixDump knows elements of an enterprise from the records of RFC 5610 alone: not at all, here."""
    version = 6 if 'sourceIPv6Address' in fields else 4
    symbols = symbol_by_name(names, version)
    return {symbols[name]: text_value(name, text) for name, text in fields.items() if name in symbols}


def by_json(row, names):
    version = 6 if 'sourceIPv6Address' in row else 4
    symbols = symbol_by_name(names, version)
    unknown = row.keys() - symbols.keys() - {'dropClass', 'dropExplanation'}
    check(not unknown, f'JSON has {sorted(unknown)}, which should not be there')
    return {symbols[name]: value for name, value in row.items() if name in symbols}
