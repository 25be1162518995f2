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

"""The size that the next start of an elastic server gives.

After a live migration and a volume swap the persistent configuration is made
from what libvirt says of the running domain. In there ``<currentMemory>`` is
what the balloon has come to and not what was defined, and the vCPUs are those
of now. Neither is what the next start should give.
"""

from oslo_log import log as logging

from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import domain
from nova.xloud import size

LOG = logging.getLogger(__name__)


def keep_boot_size(host, instance) -> None:
    """Put the boot size back in the persistent configuration of a guest.

    A failure is not the end of the operation that calls this. The guest runs,
    and each start but that of a soft reboot makes a new configuration.
    """
    if not _is_elastic(instance):
        return
    flavor = instance.flavor
    guest = host.get_guest(instance)
    try:
        if size.has_elastic_vcpus(flavor):
            guest.set_vcpus(size.boot(instance).vcpus, persistent=True)
        if size.has_elastic_memory(flavor):
            guest.set_memory(domain.current_memory(instance), persistent=True)
    except libvirt_guest.libvirt.libvirtError as error:
        LOG.warning('The next soft reboot may not give the boot size of '
                    '%(boot)s: %(error)s',
                    {'boot': size.boot(instance), 'error': error},
                    instance=instance)


def _is_elastic(instance):
    # The compute manager has notified about the operation before, and the
    # flavor is in the notification. It is not loaded just to be sure.
    return 'flavor' in instance and size.is_elastic(instance.flavor)
