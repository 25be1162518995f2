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


"""Neutron's Linux bridges for a Nova that has no word for them.

Nova 34.0.0 plugs no server into a Linux bridge, but makes it a tap device and
leaves the rest to Neutron. So Neutron asks for one, and its agent puts the
device into the bridge. Nova 29.4.0 does not say to libvirt that the device is
there already, and libvirt refuses it. Neutron finds both classes by entry
points, which ``network`` writes.
"""

from neutron.agent.linux import bridge_lib
from neutron.plugins.ml2.drivers.linuxbridge.agent import (
    linuxbridge_neutron_agent as bridges)
from neutron.plugins.ml2.drivers.linuxbridge.mech_driver import (
    mech_linuxbridge)
from neutron_lib.agent import l2_extension
from neutron_lib.api.definitions import portbindings
from neutron_lib import constants


class Driver(mech_linuxbridge.LinuxbridgeMechanismDriver):
    """The one of Linux bridges, but for what Nova has to make."""

    def __init__(self):
        super().__init__()
        self.vif_type = portbindings.VIF_TYPE_TAP


class Plug(l2_extension.L2AgentExtension):
    """Puts the devices of servers into the bridge of their network.

    The agent does so itself with all others.
    """

    def initialize(self, connection, driver_type):
        pass

    def handle_port(self, context, data):
        if data['device_owner'].startswith(
                constants.DEVICE_OWNER_COMPUTE_PREFIX):
            bridge = bridges.LinuxBridgeManager.get_bridge_name(
                data['network_id'])
            bridge_lib.BridgeDevice(bridge).addif(data['device'])

    def delete_port(self, context, data):
        pass
