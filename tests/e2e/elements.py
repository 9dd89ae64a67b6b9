# SPDX-License-Identifier: Apache-2.0
"""What each field of a record is, by others than the exporter.

Numbers, types and lengths are those of IANA's registry for IPFIX and of RFC 3954 for NetFlow v9; each row says under which name
tshark shows the field.  Nothing here comes from the exporter's own table, and a row of it that is not here is a failure.
"""
import re
from pathlib import Path
from typing import NamedTuple

from lab import command
from tap import check, check_equal

TABLE = Path(__file__).resolve().parents[2] / 'exporter/export/format/fields.def'
IANA, OWN = 0, 32473  # the enterprise number that RFC 5612 keeps for documentation
STATEMENT = re.compile(r'^FIELD\((\w+),\s*(\w+),', re.M)
VARIABLE = 65535  # octets of a string, whose own length is in each record (RFC 7011, 7)
PYTHON_REGISTRY = '''
import sys, ipfix.ie
ipfix.ie.use_iana_default()
for name in sys.argv[1:]:
    element = ipfix.ie.for_spec(name)
    print(name, element.num, element.length, sep='\\t')
'''


class Element(NamedTuple):
    name: str
    number: int
    octets: int     # in IPFIX: the type's, or fewer (RFC 7011, 6.2: reduced-size encoding)
    v9: int         # type in NetFlow v9; 0: there is no such field
    v9_octets: int
    shown: str      # tshark's name
    v9_shown: str = ''  # where it has another in NetFlow v9
    enterprise: int = IANA
    # RFC 5610: informationElementDataType, Semantics and Units; of elements that are not IANA's
    kind: tuple = ()


def same(name, number, octets, shown, v9_shown=''):
    """An element with the same number and length in both protocols"""
    return Element(name, number, octets, number, octets, shown, v9_shown)


def own(name, number, octets, kind):
    return Element(name, number, octets, 0, 0, f'own {number}', enterprise=OWN, kind=kind)


# By the symbol of the exporter's row.
ELEMENTS = {
    'SRC_IPV4': same('sourceIPv4Address', 8, 4, 'srcaddr'),
    'DST_IPV4': same('destinationIPv4Address', 12, 4, 'dstaddr'),
    'SRC_IPV6': same('sourceIPv6Address', 27, 16, 'srcaddrv6'),
    'DST_IPV6': same('destinationIPv6Address', 28, 16, 'dstaddrv6'),
    'SRC_PORT': same('sourceTransportPort', 7, 2, 'srcport'),
    'DST_PORT': same('destinationTransportPort', 11, 2, 'dstport'),
    'PROTOCOL': same('protocolIdentifier', 4, 1, 'protocol'),
    'IP_VERSION': same('ipVersion', 60, 1, 'ip_version'),
    'TOS': same('ipClassOfService', 5, 1, 'tos'),
    'TCP_FLAGS': same('tcpControlBits', 6, 1, 'tcpflags'),
    'TCP_FLAGS_16': Element('tcpControlBits', 6, 2, 6, 1, 'tcpflags'),
    # NetFlow v9 has one ICMP_TYPE, type * 256 + code, for both.
    'ICMP_IPV4': same('icmpTypeCodeIPv4', 32, 2, 'icmp_type_code_ipv4'),
    'ICMP_IPV6': Element('icmpTypeCodeIPv6', 139, 2, 32, 2, 'icmp_ipv6', 'icmp_type_code_ipv4'),
    'FLOW_LABEL': Element('flowLabelIPv6', 31, 4, 31, 3, 'ipv6flowlabel'),
    'DIRECTION': same('flowDirection', 61, 1, 'direction'),
    'INGRESS_IF': same('ingressInterface', 10, 4, 'inputint'),
    'EGRESS_IF': same('egressInterface', 14, 4, 'outputint'),
    'VLAN': same('vlanId', 58, 2, 'vlanid'),
    'POST_VLAN': same('postVlanId', 59, 2, 'post_vlanid'),
    'INNER_VLAN': same('dot1qCustomerVlanId', 245, 2, 'dot1q_customer_vlan_id'),
    'OUTER_VLAN': same('dot1qVlanId', 243, 2, 'dot1q_vlan_id'),
    'SRC_MAC': same('sourceMacAddress', 56, 6, 'srcmac'),
    'DST_MAC': same('destinationMacAddress', 80, 6, 'dstmac'),
    # FIRST_SWITCHED and LAST_SWITCHED, ms of the uptime in the header
    'START': Element('flowStartMilliseconds', 152, 8, 22, 4, 'abstimestart', 'timestart'),
    'END': Element('flowEndMilliseconds', 153, 8, 21, 4, 'abstimeend', 'timeend'),
    'END_REASON': same('flowEndReason', 136, 1, 'flow_end_reason'),
    'MIN_TTL': same('minimumTTL', 52, 1, 'ttl_min'),
    'MAX_TTL': same('maximumTTL', 53, 1, 'ttl_max'),
    'MIN_LENGTH': same('minimumIpTotalLength', 25, 2, 'length_min'),
    'MAX_LENGTH': same('maximumIpTotalLength', 26, 2, 'length_max'),
    'DSCP': same('ipDiffServCodePoint', 195, 1, 'ip_dscp'),
    'DURATION': same('flowDurationMilliseconds', 161, 4, 'timedelta'),
    'OCTETS': same('octetDeltaCount', 1, 8, 'octets'),
    'LAYER2_OCTETS': same('layer2OctetDeltaCount', 352, 8, 'layer2_octet_delta_count'),
    'PACKETS': same('packetDeltaCount', 2, 8, 'packets'),
    'DROPPED_OCTETS': same('droppedOctetDeltaCount', 132, 8, 'drop_octets'),
    'DROPPED_PACKETS': same('droppedPacketDeltaCount', 133, 8, 'drop_packets'),
    'FORWARDING_STATUS': same('forwardingStatus', 89, 1, 'forwarding_status'),
    # of variable length, which NetFlow v9 does not have
    'INTERFACE_NAME': Element('interfaceName', 82, VARIABLE, 0, 0, 'if_name'),
    'INTERFACE_TEXT': Element('interfaceDescription', 83, VARIABLE, 0, 0, 'if_descr'),
    # unsigned16, flags, no units; unsigned32, identifier; string
    'FIRST_TCP_FLAGS': own('firstTcpControlBits', 1, 2, (2, 5, 0)),
    'DROP_REASON': own('dropReason', 2, 4, (3, 4, 0)),
    'DROP_REASON_NAME': own('dropReasonName', 3, VARIABLE, (13, 0, 0)),
}

# RFC 7011, 6.2: what may be shorter than its type, and why it is.
REDUCED = {
    'TCP_FLAGS': 'pmacct 1.7.7 reads no longer ones',
    'MIN_LENGTH': 'an IP packet has 65535 octets',
    'MAX_LENGTH': 'likewise',
    'FORWARDING_STATUS': 'RFC 7270: one octet holds it',
}

# The key: what tells one flow from another.
KEYS = {'SRC_IPV4', 'DST_IPV4', 'SRC_IPV6', 'DST_IPV6', 'SRC_PORT', 'DST_PORT', 'PROTOCOL', 'IP_VERSION', 'ICMP_IPV4',
        'ICMP_IPV6', 'DIRECTION', 'INGRESS_IF', 'EGRESS_IF', 'VLAN', 'POST_VLAN', 'INNER_VLAN', 'OUTER_VLAN', 'DROP_REASON'}

BASE = {'SRC_PORT', 'DST_PORT', 'PROTOCOL', 'TOS', 'INGRESS_IF', 'EGRESS_IF', 'DIRECTION', 'START', 'END'}
MINIMAL = BASE | {'TCP_FLAGS', 'END_REASON', 'OCTETS', 'PACKETS'}
LINK = {'ICMP', 'IP_VERSION', 'VLAN', 'POST_VLAN', 'INNER_VLAN'}
DEFAULT = MINIMAL | LINK | {'SRC_MAC', 'DST_MAC', 'MIN_TTL', 'MAX_TTL', 'MIN_LENGTH', 'MAX_LENGTH', 'FLOW_LABEL'}
EXTENDED = DEFAULT - {'TCP_FLAGS'} | {'TCP_FLAGS_16', 'DSCP', 'OUTER_VLAN', 'DURATION', 'LAYER2_OCTETS', 'FIRST_TCP_FLAGS'}
DROPS = BASE | LINK | {'FORWARDING_STATUS', 'DROPPED_OCTETS', 'DROPPED_PACKETS', 'DROP_REASON', 'DROP_REASON_NAME'}
NAMES = {'INGRESS_IF', 'EGRESS_IF', 'INTERFACE_NAME', 'INTERFACE_TEXT', 'START', 'END', 'OCTETS', 'PACKETS'}
# Elements by name, in an order that all collectors read right: keys, times, counters, what is not IANA's.  Those of
# drops cannot be chosen: their records are the same in all profiles.
CHOSEN = ('sourceIPv4Address,destinationIPv4Address,sourceIPv6Address,destinationIPv6Address,icmpTypeCodeIPv4,icmpTypeCodeIPv6,'
          'sourceTransportPort,destinationTransportPort,protocolIdentifier,ipVersion,ipClassOfService,ipDiffServCodePoint,'
          'tcpControlBits{},flowLabelIPv6,flowDirection,ingressInterface,egressInterface,vlanId,postVlanId,dot1qVlanId,'
          'dot1qCustomerVlanId,sourceMacAddress,destinationMacAddress,flowEndMilliseconds,flowStartMilliseconds,'
          'flowDurationMilliseconds,flowEndReason,minimumTTL,maximumTTL,minimumIpTotalLength,maximumIpTotalLength,'
          'packetDeltaCount,octetDeltaCount,layer2OctetDeltaCount,firstTcpControlBits')
# name: (value of --template, symbols)
TEMPLATES = {
    'minimal': ('minimal', MINIMAL),
    'default': ('default', DEFAULT),
    'extended': ('extended', EXTENDED),
    'every element': (CHOSEN.format(''), EXTENDED - {'TCP_FLAGS_16'} | {'TCP_FLAGS'}),
    'every element, flags of two octets': (CHOSEN.format(':2'), EXTENDED),
    'names of interfaces': ('sourceIPv4Address,destinationIPv4Address,sourceIPv6Address,destinationIPv6Address,'
                            'ingressInterface,egressInterface,interfaceName,interfaceDescription,flowStartMilliseconds,'
                            'flowEndMilliseconds,octetDeltaCount,packetDeltaCount', NAMES),
}


# Options by template id: scopes, and elements with their octets; RFC 7011 4.1 to 4.4, 5476 6.5.2, 5610 3.9.  NetFlow v9 has
# the system, an interface or a template as scope (RFC 3954, 6.1), which strict.py gives as the elements they stand for.
SYSTEM, METERING, EXPORTING = ('observationDomainId', 4), ('meteringProcessId', 4), ('exportingProcessId', 4)
EXPORTED = [('exportedMessageTotalCount', 8), ('exportedFlowRecordTotalCount', 8), ('exportedOctetTotalCount', 8)]
IGNORED = [('ignoredPacketTotalCount', 8), ('ignoredOctetTotalCount', 8)]
NOT_SENT = [('notSentFlowTotalCount', 8), ('notSentPacketTotalCount', 8), ('notSentOctetTotalCount', 8)]
TIMES = [('observationTimeMilliseconds', 8)] * 2
INTERFACE = [('ingressInterface', 4), ('interfaceName', 16), ('interfaceDescription', 64)]
FLOW_KEYS = [('templateId', 2), ('flowKeyIndicator', 8)]
OPTIONS = {
    513: (1, [SYSTEM, ('samplingInterval', 4)]),
    512: (1, [('selectorId', 8), ('selectorAlgorithm', 2), ('samplingPacketInterval', 4), ('samplingPacketSpace', 4)]),
    514: (1, [SYSTEM, *INTERFACE]),
    515: (2, [SYSTEM, METERING, *EXPORTED]),
    516: (2, [SYSTEM, METERING, *IGNORED, *TIMES]),
    517: (1, [EXPORTING, *NOT_SENT, *TIMES]),
    519: (1, FLOW_KEYS),
    520: (2, [('privateEnterpriseNumber', 4), ('informationElementId', 2), ('informationElementDataType', 1),
              ('informationElementSemantics', 1), ('informationElementUnits', 2), ('informationElementName', VARIABLE)]),
}
V9_OPTIONS = {
    513: OPTIONS[513],
    514: (1, INTERFACE),
    515: (1, [SYSTEM, *EXPORTED]),
    516: (1, [SYSTEM, *IGNORED]),
    517: (1, [SYSTEM, *NOT_SENT]),
    519: (1, FLOW_KEYS),
}


def options_of(v9):
    """{template id: (fields as the decoder has them, scopes)}"""
    options = V9_OPTIONS if v9 else OPTIONS
    numbers = registry(sorted({name for _, fields in options.values() for name, _ in fields}))
    return {template: (tuple((IANA, numbers[name][0], octets) for name, octets in fields), scopes)
            for template, (scopes, fields) in options.items()}


def symbols_of(names, version):
    """What is in the template of that IP version."""
    found = (names | {f'SRC_IPV{version}', f'DST_IPV{version}'}) - {'ICMP'}
    if 'ICMP' in names:
        found |= {f'ICMP_IPV{version}'}
    return found - {'FLOW_LABEL'} if version == 4 else found


def check_covered():
    """Each row of the exporter's table has an element here, of its name."""
    rows = dict(STATEMENT.findall(TABLE.read_text(encoding='utf-8')))
    check(len(rows) > 30, f'only {len(rows)} rows found in {TABLE.name}')
    check_equal('rows without an element in elements.py', sorted(rows.keys() - ELEMENTS.keys()), [])
    check_equal('elements without a row', sorted(ELEMENTS.keys() - rows.keys()), [])
    for symbol, name in rows.items():
        check_equal(f'name of {symbol}', name, ELEMENTS[symbol].name)
    used = set().union(*(symbols_of(names, version) for names in [DROPS, *(names for _, names in TEMPLATES.values())]
                         for version in (4, 6)))
    check_equal('rows that no template has here', sorted(rows.keys() - used), [])


def registry(names):
    """{name: (number, octets)} by python-ipfix, of IANA's elements"""
    text = command('/usr/bin/python3', '-c', PYTHON_REGISTRY, *names)
    return {name: (int(number), int(octets)) for name, number, octets in (line.split('\t') for line in text.splitlines())}


def check_registry():
    """IANA's elements have the numbers and lengths of python-ipfix's registry."""
    known = registry(sorted({e.name for e in ELEMENTS.values() if e.enterprise == IANA}))
    for symbol, element in ELEMENTS.items():
        if element.enterprise == IANA:
            number, octets = known[element.name]
            check_equal(f'number of {element.name}', element.number, number)
            check(element.octets == octets or (symbol in REDUCED and element.octets < octets),
                  f'{element.name}: {element.octets} octets, but its type has {octets}')
