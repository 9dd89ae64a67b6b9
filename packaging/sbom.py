#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py FOLDER LIBRARIES [--copied FILE]...: prints the parts of the static program, or of an image, as SPDX 2.3 in JSON.

What was linked is what the linker says (FOLDER/flowtally.map).  Versions are those of Debian's packages that the libraries are
of, or of LIBRARIES/versions, which is in a folder that ends in the name of an architecture.  Licenses are those of the parts
that are linked: Debian's copyright files tell of whole sources.  An image has files beside the program that Debian wrote.
--copyrights prints where the copyright files are, by source package.
--sources prints NAME=VERSION of Debian's sources that have to be given to who gets the program (docs/install.md).
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = 'https://github.com/flowtally/flowtally'
# By Debian's source package; its copyright file is the evidence.
LICENSES = {
    'c-ares': 'MIT',
    'elfutils': 'GPL-2.0-or-later OR LGPL-3.0-or-later',
    'gcc-12': 'GPL-3.0-or-later WITH GCC-exception-3.1',
    'gcc-12-cross': 'GPL-3.0-or-later WITH GCC-exception-3.1',
    'glibc': 'LGPL-2.1-or-later',
    'jansson': 'MIT',
    'libbpf': 'LGPL-2.1-only OR BSD-2-Clause',
    'libcap-ng': 'LGPL-2.1-or-later',
    'libmicrohttpd': 'LGPL-2.1-or-later',
    'libmnl': 'LGPL-2.1-or-later',
    'libseccomp': 'LGPL-2.1-only',
    'libyaml': 'MIT',
    'ncurses': 'X11-distribute-modifications-variant',
    'netbase': 'GPL-2.0-only',
    'openssl': 'Apache-2.0',
    'xxhash': 'BSD-2-Clause',
    'zlib': 'Zlib',
}
OWN = 'Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)'


def output(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def archives(text):
    """The archives of which the linker has taken something, by the part of the map that says why."""
    taken = text.split('Archive member included', 1)[1].split('\nDiscarded', 1)[0].split('\nMemory Configuration', 1)[0]
    return sorted({os.path.normpath(name) for name in re.findall(r'^(\S+\.a)\(', taken, re.M)})


def package_of(path):
    """The package that has a file."""
    real = os.path.realpath(path)
    for name in (path, real, real.removeprefix('/usr')):
        done = subprocess.run(['dpkg', '-S', name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split(': ')[0].split(',')[0]
    sys.exit(f'sbom: no package has {path}')


def of_package(path):
    """(source package, version, its copyright file) of a file."""
    name = package_of(path)
    source, version = output('dpkg-query', '-W', '-f', '${source:Package} ${source:Version}', name).split()
    return source, version, os.path.realpath(f'/usr/share/doc/{name.split(":")[0]}/copyright')


def parts(folder, libraries, copied):
    """{source package: (version, its copyright file, [archive, ...], [copied file, ...])}."""
    versions = dict(line.split() for line in (libraries / 'versions').read_text(encoding='ascii').splitlines())
    found = {}

    def add(source, version, evidence, path, kind):
        part = found.setdefault(source, (version, evidence, [], []))
        if part[0] != version:
            sys.exit(f'sbom: two versions of {source}: {part[0]}, {version}')
        part[2 + kind].append(path)

    for path in archives((folder / 'flowtally.map').read_text(encoding='utf-8')):
        source = Path(path).stem
        if path.startswith(str(libraries)):
            add(source, versions[source], str(libraries / f'{source}.copyright'), Path(path).name, 0)
        elif os.path.isabs(path):
            add(*of_package(path), Path(path).name, 0)
        # The other one is libflowtally.a.
    for path in copied:
        add(*of_package(path), path, 1)
    return found


def package(name, version, license_, **more):
    identifier = 'SPDXRef-' + re.sub(r'[^A-Za-z0-9.-]', '-', name)
    return {'SPDXID': identifier, 'name': name, 'versionInfo': version, 'licenseDeclared': license_,
            'licenseConcluded': license_, 'copyrightText': 'NOASSERTION', 'filesAnalyzed': False, **more}


def of_debian(source, version, linked, copied):
    if source not in LICENSES:
        sys.exit(f'sbom: the license of {source} is not known: add it to {__file__}')
    use = [f'{how}: {", ".join(names)}' for how, names in (('statically linked', linked), ('copied', copied)) if names]
    return package(source, version, LICENSES[source], supplier='Organization: Debian',
                   downloadLocation=f'https://sources.debian.org/src/{source}/{version}/', comment='; '.join(use),
                   externalRefs=[{'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
                                  'referenceLocator': f'pkg:deb/debian/{source}@{version.replace("+", "%2B")}?arch=source'}])


def asks_for_source(source):
    """Does its license?  Who may choose another one than the (L)GPL does that; what GCC puts into programs is free of it."""
    ways = LICENSES[source].split(' OR ')
    return all('GPL' in way and 'exception' not in way for way in ways)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=lambda name: Path(name).resolve())
    parser.add_argument('libraries', type=lambda name: Path(name).resolve())
    parser.add_argument('--copied', action='append', default=[])
    parser.add_argument('--copyrights', action='store_true')
    parser.add_argument('--sources', action='store_true')
    words = parser.parse_args()
    found = parts(words.folder, words.libraries, words.copied)
    if words.copyrights or words.sources:
        for source, (version, evidence, *_) in sorted(found.items()):
            if words.copyrights:
                print(source, evidence)
            elif asks_for_source(source):
                print(f'{source}={version}')
        return
    document(found, words.libraries.name.rpartition('-')[2])


def document(found, machine):
    version = re.search(r"version: '(.*?)'", (ROOT / 'meson.build').read_text(encoding='ascii'))[1]
    packages = [package('flowtally', version, OWN, supplier='Organization: flowtally', primaryPackagePurpose='APPLICATION',
                        downloadLocation=f'git+{HOME}.git',
                        externalRefs=[{'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
                                       'referenceLocator': f'pkg:github/flowtally/flowtally@{version}'}])]
    packages += [of_debian(source, version, *use) for source, (version, _, *use) in sorted(found.items())]
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:16]
    epoch = int(os.environ.get('SOURCE_DATE_EPOCH', time.time()))
    relations = [('SPDXRef-DOCUMENT', 'DESCRIBES', 'SPDXRef-flowtally')]
    relations += [('SPDXRef-flowtally', 'STATIC_LINK' if 'linked' in part['comment'] else 'CONTAINS', part['SPDXID'])
                  for part in packages[1:]]
    json.dump({
        'spdxVersion': 'SPDX-2.3', 'dataLicense': 'CC0-1.0', 'SPDXID': 'SPDXRef-DOCUMENT',
        'name': f'flowtally-{version}-{machine}', 'documentNamespace': f'{HOME}/spdx/flowtally-{version}-{machine}-{digest}',
        'creationInfo': {'created': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(epoch)),
                         'creators': ['Tool: flowtally-sbom', 'Organization: flowtally']},
        'packages': packages,
        'relationships': [{'spdxElementId': one, 'relationshipType': kind, 'relatedSpdxElement': other}
                          for one, kind, other in relations],
    }, sys.stdout, indent=1)
    print()


main()
