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

"""Failures that must not stop what goes on."""

import contextlib


@contextlib.contextmanager
def warned(log, text: str, *values, **where):
    """Go on after any failure, with a warning.

    Say at the call why it is right to go on, if the text does not.

    :param log: the logger of the caller
    :param text: its last placeholder is for the error, those before are for
        values
    :param where: which instance, as for the logger
    """
    try:
        yield
    except Exception as error:
        log.warning(text, *values, error, **where)


@contextlib.contextmanager
def left_to_audit(log, instance):
    """Go on after a failure to save what a host counts."""
    with warned(log, 'The audit saves what its host counts: %s',
                instance=instance):
        yield
