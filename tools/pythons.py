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

"""Which Python runs the tests: Nova 2024.1 supports 3.8 to 3.11, we 3.9 up.

``python3 tools/pythons.py`` prints its path, or says plainly that none is
there.  It may itself be run by any Python 3.
"""

import shutil
import subprocess
import sys

SUPPORTED = ('3.11', '3.10', '3.9')


def pick():
    for candidate in ['python3'] + ['python' + v for v in SUPPORTED]:
        path = shutil.which(candidate)
        # A version manager leaves commands for Pythons that are not chosen.
        if path and _version(path) in SUPPORTED:
            return path
    here = '%d.%d' % sys.version_info[:2]
    sys.exit('Nova 2024.1 runs on Python %s to %s only, and none of them is '
             'here (python3 is %s): install python3.11 with its headers and '
             'its venv module'
             % (SUPPORTED[-1], SUPPORTED[0], here))


def _version(path):
    asked = subprocess.run(
        [path, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        universal_newlines=True)
    return asked.stdout.strip()


if __name__ == '__main__':
    print(pick())
