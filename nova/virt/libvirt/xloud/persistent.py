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

Nova makes some persistent configurations from what libvirt says of a running
domain: after a live migration, after a volume swap, for the way back from
rescue. In there ``<currentMemory>`` is what the balloon has come to and not
what was defined, and the vCPUs are those of now. Neither is what the next
start should give.
"""

from lxml import etree
from oslo_log import log as logging

from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import domain
from nova.xloud import size

LOG = logging.getLogger(__name__)


def at_boot_size(xml, instance) -> str:
    """The XML of a domain, changed so that it starts at the boot size."""
    if not _is_elastic(instance):
        return xml
    flavor = instance.flavor
    document = etree.fromstring(xml)
    if size.has_elastic_vcpus(flavor):
        _replace_vcpus(document, instance)
    if size.has_elastic_memory(flavor):
        _replace_current_memory(document, instance)
    return etree.tostring(document, encoding='unicode')


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


def _replace_vcpus(document, instance):
    vcpu = document.find('./vcpu')
    vcpu.set('current', str(size.boot(instance).vcpus))
    for old in document.findall('./vcpus'):
        document.remove(old)
    vcpus = etree.Element('vcpus')
    vcpus.extend(entry.format_dom() for entry in domain.vcpu_list(instance))
    vcpu.addnext(vcpus)


def _replace_current_memory(document, instance):
    for old in document.findall('./currentMemory'):
        document.remove(old)
    current = etree.Element('currentMemory', unit='KiB')
    current.text = str(domain.current_memory(instance))
    document.find('./memory').addnext(current)
