#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Which Python runs the tests of a release: lanes.ini of that release says.

``python3 tools/pythons.py`` prints its path, or says plainly that none is
there.  It may itself be run by any Python 3.
"""

import configparser
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE = os.environ.get('XLOUD_RELEASE', '2024.1')


def supported(release=RELEASE):
    config = configparser.ConfigParser()
    config.read(os.path.join(ROOT, 'patches', release, 'lanes.ini'))
    return config.get('lanes', 'pythons').split()


def pick(release=RELEASE):
    versions = supported(release)
    for candidate in ['python3'] + ['python' + v for v in versions]:
        path = shutil.which(candidate)
        # A version manager leaves commands for Pythons that are not chosen.
        if path and _version(path) in versions:
            return path
    here = '%d.%d' % sys.version_info[:2]
    sys.exit('Nova %s is tested on Python %s, which is not here (python3 is '
             '%s): install python%s with its headers and its venv module'
             % (release, ' or '.join(versions), here, versions[0]))


def has_packages(env):
    """Whether an environment finds what was installed in it.

    It does not after its Python was replaced by one of another minor version.
    """
    python = os.path.join(str(env), 'bin', 'python')
    return os.access(python, os.X_OK) and not subprocess.run(
        [python, '-c', 'import pip'], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode


def _version(path):
    asked = subprocess.run(
        [path, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        universal_newlines=True)
    return asked.stdout.strip()


if __name__ == '__main__':
    print(pick())
