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

"""Run a script of this folder as a process inside a tree.

The script has a test case, Bench, whose runTest() leaves what it found in
_results: what else is set is forgotten by Nova's TestCase.
"""

import json
import os
from pathlib import Path
import runpy
import subprocess
import sys
import tempfile
import unittest


def run(script, *arguments):
    """What a script finds in our tree; its log is shown if it fails."""
    from tools import tree
    with tempfile.TemporaryFile('w+') as log:
        done = subprocess.run(
            command(script, *arguments), cwd=tree.TREE, text=True,
            stdout=subprocess.PIPE, stderr=log)
        if done.returncode:
            log.seek(0)
            sys.exit(log.read()[-4000:])
    return json.loads(done.stdout)


def command(script, *arguments):
    """What to call in a tree's directory; arguments are Bench's."""
    return [sys.executable, __file__,
            str(Path(__file__).with_name(script)), json.dumps(arguments)]


def _main(script, arguments):
    sys.path[0] = ''  # nova of the working directory, tools of nobody
    sys.stdout = sys.stderr  # the answer has standard output for itself
    os.environ['OS_TEST_TIMEOUT'] = '0'  # upstream's limit is for one test
    bench = runpy.run_path(script)['Bench'](*json.loads(arguments))
    result = unittest.TestResult()
    # A suite, since libvirtd is a class fixture.
    unittest.TestSuite([bench]).run(result)
    if not result.wasSuccessful():
        sys.exit('\n'.join(text for _test, text in
                           result.errors + result.failures)[-4000:])
    print(json.dumps(bench._results), file=sys.__stdout__, flush=True)


if __name__ == '__main__':
    _main(*sys.argv[1:])
