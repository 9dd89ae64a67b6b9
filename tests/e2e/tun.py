# SPDX-License-Identifier: Apache-2.0
"""Two tun devices joined by this process, which hands frames over as a virtual machine's monitor does.

A super-packet passes whole: what is read comes with a virtio_net_hdr, and is written with it to the other
device, whose kernel takes nothing on trust (SKB_GSO_DODGY) and does not know of how many segments it is.
"""
import contextlib
import fcntl
import os
import struct
import threading

TUNSETIFF, TUNSETOFFLOAD = 0x400454ca, 0x400454d0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CSUM, TSO, USO = 0x01, 0x02 | 0x04, 0x20 | 0x40  # TUN_F_*
FRAME_MAX = 10 + 65536 + 1500


def open_tun(box, role, name):
    """The device's descriptor; it is there, with all offloads that this kernel has, as long as this is open."""
    with box.entered(role):
        device = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    try:
        fcntl.ioctl(device, TUNSETOFFLOAD, CSUM | TSO | USO)
    except OSError:  # before Linux 6.2: no UDP
        fcntl.ioctl(device, TUNSETOFFLOAD, CSUM | TSO)
    return device


def pump(source, destination, stop):
    while not stop.is_set():
        with contextlib.suppress(OSError):  # an interface that is not up yet, or no more
            os.write(destination, os.read(source, FRAME_MAX))


@contextlib.contextmanager
def joined(box, one, other):
    """Joins two namespaces while inside: with joined(box, ('near', 'a0'), ('hop', 'b0')): ..."""
    devices = [open_tun(box, *end) for end in (one, other)]
    stop = threading.Event()
    for pair in devices, devices[::-1]:
        threading.Thread(target=pump, args=(*pair, stop), daemon=True).start()
    for role, name in one, other:
        box.ip(role, 'link', 'set', name, 'mtu', '1500', 'up')
    try:
        yield
    finally:
        stop.set()
