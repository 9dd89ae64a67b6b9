#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py FOLDER LIBRARIES: prints the parts of the static program as SPDX 2.3 in JSON.

What was linked is what the linker says (FOLDER/flowtally.map).  Versions are those of Debian's packages that the libraries are
of, or of LIBRARIES/versions.  Licenses are those of the parts that are linked: Debian's copyright files tell of whole sources.
sbom.py --copyrights FOLDER LIBRARIES prints where these are, by source package.
"""
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
    'glibc': 'LGPL-2.1-or-later',
    'jansson': 'MIT',
    'libbpf': 'LGPL-2.1-only OR BSD-2-Clause',
    'libcap-ng': 'LGPL-2.1-or-later',
    'libmicrohttpd': 'LGPL-2.1-or-later',
    'libmnl': 'LGPL-2.1-or-later',
    'libseccomp': 'LGPL-2.1-only',
    'libyaml': 'MIT',
    'ncurses': 'X11-distribute-modifications-variant',
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


def parts(folder, libraries):
    """{(source package, version, its copyright file): [archive, ...]}."""
    versions = dict(line.split() for line in (libraries / 'versions').read_text(encoding='ascii').splitlines())
    found = {}
    for path in archives((folder / 'flowtally.map').read_text(encoding='utf-8')):
        if path.startswith(str(libraries)):
            source = Path(path).stem
            key = source, versions[source], str(libraries / f'{source}.copyright')
        elif os.path.isabs(path):
            name = package_of(path)
            source = output('dpkg-query', '-W', '-f', '${source:Package} ${source:Version}', name).split()
            key = *source, os.path.realpath(f'/usr/share/doc/{name.split(":")[0]}/copyright')
        else:
            continue  # libflowtally.a
        found.setdefault(key, []).append(Path(path).name)
    return found


def package(name, version, license_, **more):
    identifier = 'SPDXRef-' + re.sub(r'[^A-Za-z0-9.-]', '-', name)
    return {'SPDXID': identifier, 'name': name, 'versionInfo': version, 'licenseDeclared': license_,
            'licenseConcluded': license_, 'copyrightText': 'NOASSERTION', 'filesAnalyzed': False, **more}


def of_debian(source, version, _, names):
    if source not in LICENSES:
        sys.exit(f'sbom: the license of {source} is not known: add it to {__file__}')
    return package(source, version, LICENSES[source], supplier='Organization: Debian',
                   downloadLocation=f'https://sources.debian.org/src/{source}/{version}/',
                   comment=f'statically linked: {", ".join(names)}',
                   externalRefs=[{'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
                                  'referenceLocator': f'pkg:deb/debian/{source}@{version.replace("+", "%2B")}?arch=source'}])


def main():
    folder, libraries = (Path(name).resolve() for name in sys.argv[-2:])
    found = parts(folder, libraries)
    if sys.argv[1] == '--copyrights':
        for source, _, file in sorted(found):
            print(source, file)
        return
    version = re.search(r"version: '(.*?)'", (ROOT / 'meson.build').read_text(encoding='ascii'))[1]
    machine = os.uname().machine
    packages = [package('flowtally', version, OWN, supplier='Organization: flowtally', primaryPackagePurpose='APPLICATION',
                        downloadLocation=f'git+{HOME}.git',
                        externalRefs=[{'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
                                       'referenceLocator': f'pkg:github/flowtally/flowtally@{version}'}])]
    packages += [of_debian(*key, names) for key, names in sorted(found.items())]
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:16]
    epoch = int(os.environ.get('SOURCE_DATE_EPOCH', time.time()))
    relations = [('SPDXRef-DOCUMENT', 'DESCRIBES', 'SPDXRef-flowtally')]
    relations += [('SPDXRef-flowtally', 'STATIC_LINK', part['SPDXID']) for part in packages[1:]]
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
