# SPDX-License-Identifier: Apache-2.0
"""The initramfs of a virtual machine: Python, the tools and modules that the tests need, and what is tested.

Programs come from a root file system (of this machine, or unpacked for another architecture) with the libraries that
they need.  No file system but this one, so that a kernel needs no driver for it.
"""
import functools
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

TOOLS = ('bash', 'sh', 'ip', 'tc', 'nft', 'ethtool', 'bpftool', 'nstat', 'sysctl', 'setpriv', 'unshare', 'nsenter', 'modprobe',
         'cat', 'sleep')
APPLETS = ('mount', 'umount', 'dmesg', 'ping', 'ls', 'ps', 'grep', 'sed', 'kill', 'env', 'test', 'true', 'less', 'rm', 'cp',
           'mkdir')
PLACES = ('usr/bin', 'usr/sbin', 'bin', 'sbin')
LIBRARY_PLACES = ('lib/{}-linux-gnu', 'usr/lib/{}-linux-gnu', 'lib', 'usr/lib', 'lib64')
PYTHON = 'usr/lib/python3.11'
NOT_OF_PYTHON = {'test', 'idlelib', 'tkinter', 'lib2to3', 'ensurepip', 'pydoc_data', 'distutils', 'turtledemo', 'dist-packages',
                 'sqlite3', 'unittest', 'xml', 'xmlrpc', 'wsgiref', 'curses', 'dbm', 'venv', 'asyncio'}
NO_EXTENSIONS = re.compile(r'_(ssl|hashlib|sqlite3|tkinter|curses|dbm|gdbm|lzma|bz2|asyncio|test|xx|codecs_)')
MODULES = ('kernel/net/', 'kernel/crypto/', 'kernel/lib/', 'kernel/drivers/net/')
NO_MODULES = re.compile(r'/(bluetooth|mac80211|wireless|sunrpc|ceph|rds|tipc|batman-adv|ieee802154|nfc|wwan|can|ipvs|ethernet|'
                        r'phy|usb|hyperv|mdio|wireguard|fddi|ppp|slip|team|vmxnet3|xen-netback)[/.]')
INIT = '''#!/bin/busybox sh
# What is in /machine is run; with "shell" on the kernel's command line a shell comes first.
export PATH=/usr/bin:/bin LD_LIBRARY_PATH=/lib HOME=/ PYTHONDONTWRITEBYTECODE=1
busybox mkdir -p /dev /proc /sys /run /tmp /var/run
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t securityfs security /sys/kernel/security
busybox mount -t tracefs trace /sys/kernel/tracing
busybox mount -t tmpfs run /run
busybox mount -t tmpfs tmp /tmp
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
case " $(cat /proc/cmdline) " in *' shell '*) busybox setsid busybox cttyhack sh ;; esac
python3 -u /machine/guest/main.py
busybox poweroff -f
'''


class Image:
    """Files by their path inside; write() makes a cpio archive of them."""

    def __init__(self, root, arch, busybox):
        self.root, self.arch = Path(root), arch
        self.files = {}  # path inside: (mode, content or path)
        self.text('init', INIT, 0o755)
        self.text('etc/machine-id', '0123456789abcdef0123456789abcdef\n')
        self.text('etc/passwd', 'root:x:0:0::/:/bin/sh\n')
        self.text('etc/nsswitch.conf', 'hosts: files\n')
        self.files['bin/busybox'] = 0o100755, Path(busybox)
        for applet in APPLETS:
            self.link(f'bin/{applet}', 'busybox')
        for tool in TOOLS:
            self.tool(tool)
        self.link('bin/sh', '../usr/bin/sh')  # of system(3)
        self.python()

    def text(self, inside, text, mode=0o644):
        self.files[inside] = 0o100000 | mode, text.encode()

    def link(self, inside, target):
        self.files[inside] = 0o120777, target.encode()

    def add(self, inside, path):
        """A file, and the libraries that it needs if it is a program."""
        path = Path(path)
        self.files[inside] = 0o100000 | stat.S_IMODE(path.stat().st_mode), path
        needed, loader = needs(os.path.realpath(path))
        for library in needed:
            if f'lib/{library}' not in self.files:
                self.add(f'lib/{library}', self.library(library))
        if loader and loader not in self.files:
            self.files[loader] = 0o100755, self.library(os.path.basename(loader))

    def folder(self, inside, path, wanted='*'):
        for file in sorted(Path(path).glob(wanted)):
            if file.is_file():
                self.add(f'{inside}/{file.name}', file)

    def library(self, name):
        for place in LIBRARY_PLACES:
            path = self.root / place.format(self.arch) / name
            if path.exists():
                return self.inside_root(path)
        raise FileNotFoundError(f'no library {name} for {self.arch} in {self.root}')

    def inside_root(self, path):
        """Follows links, of which those of an unpacked root that begin with / mean that root."""
        while path.is_symlink():
            target = os.readlink(path)
            path = self.root / target.lstrip('/') if target.startswith('/') else path.parent / target
        return path

    def tool(self, name):
        for place in PLACES:
            path = self.inside_root(self.root / place / name)
            if path.exists():
                self.add(f'usr/bin/{name}', path)
                return
        raise FileNotFoundError(f'no program {name} in {self.root}')

    def python(self):
        self.tool('python3.11')
        self.link('usr/bin/python3', 'python3.11')
        base = self.root / PYTHON
        for folder, folders, names in os.walk(base):
            folders[:] = [name for name in folders if name not in NOT_OF_PYTHON and not name.startswith('config-')]
            for name in names:
                path = Path(folder) / name
                inside = f'{PYTHON}/{path.relative_to(base)}'
                if path.suffix == '.so' and not NO_EXTENSIONS.match(name):
                    self.add(inside, path)
                elif path.suffix in ('.py', '.pyc') and '.opt-' not in name:
                    self.files[inside] = 0o100644, self.inside_root(path)

    def kernel(self, folder):
        """Modules that networks need; modprobe finds them as on any machine."""
        release = (Path(folder) / 'release').read_text(encoding='utf-8').strip()
        base = Path(folder) / 'lib/modules' / release
        for path in base.rglob('*'):
            name = str(path.relative_to(base))
            chosen = name.startswith(MODULES) or '/crypto/' in name
            if path.is_file() and (name.startswith('modules.') or chosen and not NO_MODULES.search('/' + name)):
                self.files[f'lib/modules/{release}/{name}'] = 0o100644, path
        return release

    def write(self, path):
        """A cpio archive in the form `newc`, not compressed: emulated machines unpack slowly."""
        folders = {parent for inside in self.files for parent in Path(inside).parents} - {Path('.')}
        with open(path, 'wb') as out:
            entries = [(str(folder), 0o40755, b'', 0) for folder in sorted(folders)]
            for inside, (mode, content) in self.files.items():
                when = 0 if isinstance(content, bytes) else int(content.stat().st_mtime)
                entries.append((inside, mode, content, when))
            for number, entry in enumerate([*entries, ('TRAILER!!!', 0, b'', 0)], 1):
                write_entry(out, number, *entry)


def write_entry(out, number, name, mode, content, when):
    data = content if isinstance(content, bytes) else content.read_bytes()
    name = name.encode() + b'\0'
    header = '070701' + ''.join(f'{value:08X}' for value in (number, mode, 0, 0, 1, when, len(data), 0, 0, 0, 0, len(name), 0))
    for part in header.encode() + name, data:
        out.write(part + bytes(-len(part) % 4))


@functools.cache
def needs(path):
    """Names of the libraries that a program or library needs, and its loader."""
    if Path(path).open('rb').read(4) != b'\x7fELF':
        return (), None
    text = subprocess.run([shutil.which('readelf'), '-d', '-l', path], capture_output=True, text=True, check=True).stdout
    loader = re.search(r'interpreter: /(.*)\]', text)
    return tuple(re.findall(r'\(NEEDED\).*\[(.*)\]', text)), loader and loader[1]
