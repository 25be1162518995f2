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


"""Glance, and the images of the guest that tells what it sees."""

import shutil

from sandbox import configuration
from sandbox.guest import tiny_guest
from sandbox import layout
from sandbox import processes
from sandbox import schemas
from sandbox import wsgi

NAME = 'glance'
IMAGE = 'tiny'
IMAGE_WITH_AGENT = 'tiny-agent'


def configure(site: layout.Layout) -> None:
    data = site.site / NAME
    data.mkdir(exist_ok=True)
    configuration.write(site.etc('glance') / 'glance-api.conf', {
        'DEFAULT': {
            'bind_host': '127.0.0.1',
            'bind_port': site.ports[NAME],
            'workers': 0,  # one process, which serves by itself
            'use_stderr': True,
            'enabled_backends': 'local:file',
            'transport_url': site.broker_url,
        },
        'glance_store': {'default_backend': 'local'},
        'local': {'filesystem_store_datadir': data / 'images'},
        'os_glance_staging_store': {
            'filesystem_store_datadir': data / 'staging'},
        'os_glance_tasks_store': {'filesystem_store_datadir': data / 'tasks'},
        'database': {'connection': site.database_url('glance')},
        'paste_deploy': {
            'flavor': 'keystone',
            'config_file': layout.ENV / 'etc/glance/glance-api-paste.ini'},
        'keystone_authtoken': configuration.token_check(site, NAME),
        'oslo_concurrency': {'lock_path': data / 'locks'},
    })


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    schemas.fill(site, [NAME], lambda: supervisor.run('glance-schema', [
        layout.ENV / 'bin' / 'glance-manage', *_configured(site), 'db_sync']))


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    supervisor.start(NAME, [layout.ENV / 'bin' / 'glance-api',
                            *_configured(site)], {'PYTHONUNBUFFERED': '1'})
    wsgi.wait(site, supervisor, NAME)


def fill(cloud, site: layout.Layout) -> None:
    """The images: without and with a QEMU guest agent."""
    if cloud.image.find_image(IMAGE_WITH_AGENT):
        return
    kernel = tiny_guest.kernel()
    agent = shutil.which('qemu-ga')
    assert kernel is not None and agent is not None
    ramdisk = tiny_guest.make_ramdisk(site.site / 'guest')
    if not cloud.image.find_image(IMAGE):
        _add(cloud, IMAGE, kernel, ramdisk)
    _add(cloud, IMAGE_WITH_AGENT, kernel,
         tiny_guest.add_agent(ramdisk, agent), hw_qemu_guest_agent='yes')


def _add(cloud, name, kernel, ramdisk, **properties):
    """An image is an empty disk; kernel and RAM disk are its own."""
    parts = {
        property_: cloud.image.create_image(
            name=f'{name}-{format_}', disk_format=format_,
            container_format=format_, visibility='public',
            data=path.read_bytes()).id
        for property_, format_, path in (('kernel_id', 'aki', kernel),
                                         ('ramdisk_id', 'ari', ramdisk))}
    cloud.image.create_image(
        name=name, disk_format='raw', container_format='bare',
        visibility='public', data=bytes(1 << 20), hw_machine_type='q35',
        hw_rng_model='virtio', os_command_line=' '.join(
            [tiny_guest.COMMAND_LINE, tiny_guest.NETWORK]),
        **parts, **properties)


def _configured(site):
    return ['--config-file', site.etc('glance') / 'glance-api.conf']
