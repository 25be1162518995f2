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

"""Calls of libvirt that end in time.

A QEMU that is stopped or hangs never answers, and a call that asks it never
returns. libvirt lets later calls wait 30 seconds for the first one.
"""

import threading
import typing as ty

from nova.virt.libvirt import guest as libvirt_guest

SECONDS = 30


def call(function: ty.Callable, *args, seconds: ty.Optional[float] = None,
         **kwargs):
    """Call a function, and abandon it if it takes too long.

    It runs in a thread of its own, which is a green thread under eventlet. The
    result of a call that ends after the time is up is lost.

    :param seconds: how long to wait, by default SECONDS
    :raises: libvirtError with VIR_ERR_OPERATION_TIMEOUT if it takes longer
    """
    seconds = SECONDS if seconds is None else seconds
    ended = threading.Event()
    results: ty.List[ty.Any] = []
    errors: ty.List[BaseException] = []

    def run():
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    if not ended.wait(seconds):
        raise _too_late(seconds)
    if errors:
        raise errors[0]
    return results[0]


class Patient:
    """A virDomain, or the like, whose calls end in time."""

    def __init__(self, wrapped, seconds: ty.Optional[float] = None):
        self._wrapped = wrapped
        self._seconds = seconds

    def __getattr__(self, name):
        found = getattr(self._wrapped, name)
        if not callable(found):
            return found

        def patiently(*args, seconds=self._seconds, **kwargs):
            return call(found, *args, seconds=seconds, **kwargs)

        return patiently


def _too_late(seconds):
    libvirt = libvirt_guest.libvirt
    message = 'no answer within %g seconds' % seconds
    error = libvirt.libvirtError(message)
    # libvirt fills in the last error of this thread, if there is one.
    error.args = (message,)
    error.err = (
        libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_FROM_QEMU, message)
    return error
