# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Run a script of this folder inside the materialised tree."""

import json
from pathlib import Path
import subprocess
import sys
import tempfile

from tools import tree


def run(script, *arguments, directory=tree.TREE):
    """What a script prints as JSON; its log is shown if it fails.

    :param arguments: handed to it as one JSON list
    """
    with tempfile.TemporaryFile('w+') as log:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script)),
             json.dumps(arguments)],
            cwd=directory, text=True, stdout=subprocess.PIPE, stderr=log)
        if done.returncode:
            log.seek(0)
            sys.exit(log.read()[-4000:])
    return json.loads(done.stdout)
