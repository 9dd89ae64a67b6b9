# SPDX-License-Identifier: Apache-2.0
"""A name server in a namespace, that knows one name and can be told what to say of it."""
import ipaddress
import socket
import struct
import threading

ANSWER, NO_SUCH_NAME = 0x8180, 0x8183
TYPE_A, CLASS_IN, TTL_SECONDS = 1, 1, 1
SILENT = 'silent'
# The program that follows is to find our server, and nothing else to notice.
WITH_RESOLV_CONF = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"']


class Names:
    """with Names(box, 'meter', directory, 'collector.test') as names: names.address = '192.0.2.1'

    foreign: other names that were asked for; nothing is said of them
    address: an IPv4 address or several, None (there is no such name) or SILENT (the server does not answer).
    server: where it is asked
    """

    def __init__(self, box, role, directory, name, server='127.0.0.1'):
        self.address, self.queries, self.foreign = None, 0, set()
        self.question = b''.join(bytes([len(label)]) + label.encode() for label in name.split('.')) + b'\0'
        resolv_conf = f'{directory}/resolv.conf'
        with open(resolv_conf, 'w', encoding='ascii') as file:
            file.write(f'nameserver {server}\n')
        self.prefix = [*WITH_RESOLV_CONF, resolv_conf]
        with box.entered(role):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((server, 53))
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.sendto(b'', self.socket.getsockname())  # see serve()
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            query, sender = self.socket.recvfrom(512)
            if not query:
                return
            self.queries += 1
            address = self.address
            if query[12:12 + len(self.question)] != self.question:
                self.foreign.add(query[12:])
            elif address != SILENT:
                self.socket.sendto(self.reply(query, address), sender)

    def reply(self, query, address):
        end = query.index(0, 12) + 5
        question, kind = query[12:end], struct.unpack_from('!H', query, end - 4)[0]
        known = address is not None
        addresses = [address] if isinstance(address, str) else list(address or ())
        answers = addresses if kind == TYPE_A else []
        head = query[:2] + struct.pack('!HHHHH', ANSWER if known else NO_SUCH_NAME, 1, len(answers), 0, 0)
        return head + question + b''.join(
            struct.pack('!HHHIH', 0xc00c, TYPE_A, CLASS_IN, TTL_SECONDS, 4) + ipaddress.ip_address(one).packed
            for one in answers)
