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

"""Where the demo is shown: a terminal, or a file that cannot go back."""

import sys

_ERASE = '\r\033[K'
_SECONDS_BETWEEN_SIGNS = 10


class Screen:
    """Lines that stay, and below them one that shows progress."""

    def __init__(self, output=sys.stdout):
        self._output = output
        self._goes_back = output.isatty()
        self._signed = 0

    def show(self, text):
        self._write(_ERASE * self._goes_back + text + '\n')
        self._signed = 0

    def progress(self, text, seconds):
        """Show how far it is.

        :param seconds: that nothing else was shown
        """
        if self._goes_back:
            self._write(_ERASE + text)
        elif seconds - self._signed >= _SECONDS_BETWEEN_SIGNS:
            self._signed = seconds
            self._write(text + '\n')

    def _write(self, text):
        self._output.write(text)
        self._output.flush()
