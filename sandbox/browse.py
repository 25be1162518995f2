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


"""The dashboard of the sandbox, used as persons use it, in Chromium.

What a person does is followed on its whole way: what the page says, what was
sent to Nova, what Nova did and what the guest sees of it. Live migration
differs between releases of Nova, so nova-api is started anew, as one that has
no newer microversion than some.
"""

import json
import sys
import typing as ty

from sandbox import client
from sandbox import compute
from sandbox import identity
from sandbox import layout
from sandbox import probes
from sandbox import servers

# Where the driver is that the tests of the package have.
sys.path.insert(0, str(layout.ROOT / 'clients' / 'dashboard'))

_MINE, _ALL = '/project/instances/', '/admin/instances/'
_LIVE_MIGRATE = '[id$="__action_live_migrate"]'
_DIALOG, _DONE = '.modal', '.alert-info, .alert-success'
_MOVING = 'moving'
_AUTOMATIC = 'AUTO_SCHEDULE'


class Offer(ty.NamedTuple):
    """What the form of a live migration is with one Nova."""

    newest: str
    sent_version: str
    choices: ty.Tuple[str, ...] = ('auto', 'yes', 'no')
    disk_over_commit: bool = False
    # Whether Nova looks first, and answers after that.
    answers_late: bool = True


OFFERS = {
    '2.24': Offer('2.24', '2.1', ('no', 'yes'), True),
    '2.29': Offer('2.29', '2.25'),
    '2.67': Offer('2.67', '2.30'),
    'unlimited': Offer('', '2.68', answers_late=False),
}


class Browse(servers.Servers):
    def __init__(self, site, show):
        super().__init__(site, show)
        self._record = site.logs / 'nova-requests.json'
        self._browser = None

    # The steps, in this order

    def log_in(self):
        """a member and an administrator log in; a wrong password is refused"""
        from xloud_dashboard.tests import browser

        self._start_nova('')
        self._browser = browser.Browser(self.site.url('horizon'))
        self._browser.send_login(identity.CHECKERS[0], 'wrong', _MINE)
        self._browser.until(lambda: 'Invalid credentials' in
                            self._browser.text('.alert-danger, .help-block'))
        self._as_member()
        self._browser.open(_ALL)
        self._expect(self._browser.exists('#instances'), False,
                     'whether a member has the panel of administrators')
        self._as_administrator()
        self._browser.find('#instances')

    def adjust(self):
        """a member makes a server grow, and sees it settle"""
        from xloud_dashboard.tests import browser

        self._create('one')
        self._agree('one', probes.Sizes(1, 320))
        server = self.servers['one']
        self._as_member()
        self._browser.click_action(server)
        self._expect('1 to 2; 1 now, 1 charged' in
                     self._browser.text('#xloud-vcpus-facts'), True,
                     'what the form says of the vCPUs')
        self._browser.slide('vcpus', browser.Keys.END)
        self._browser.set_number('memory_mb', 640)
        self._browser.screenshot('form', '.modal-content')
        self._browser.submit()
        self._browser.find(_DONE)
        self._expect(self._adjusts(), [
            (f'/v2.1/os-xloud-adjust/{server}', '2.1',
             {'current_vcpus': 2, 'current_memory_mb': 640, 'persist': True},
             202)], 'what was sent')
        self._agree('one', probes.Sizes(2, 640))
        self._browser.until(lambda: self._says_settled(server))

    def refuse(self):
        """what Nova refuses is said in the form, which stays open"""
        project = identity.CHECKERS[0]
        client.openstack(self.site, client.ADMIN, 'quota', 'set',
                         '--ram', '650', project)
        try:
            self._as_member()
            self._ask_for('one', 704)
            said = self._browser.text('[data-xloud-refusal]')
            self._browser.screenshot('refusal', '.modal-content')
        finally:
            client.openstack(self.site, client.ADMIN, 'quota', 'set',
                             '--ram', '51200', project)
        (sent,) = self._adjusts()
        self._expect(sent[2:], ({'current_memory_mb': 704, 'persist': True},
                                403), 'what was sent')
        self._expect('ram' in said, True, f'whether this names it: {said}')
        self._expect(self._browser.value('#id_memory_mb'), '704',
                     'the number in the open form')
        self._agree('one', probes.Sizes(2, 640))

    def administer(self):
        """an administrator sees all elastic servers, and makes one shrink"""
        self._as_administrator('/admin/xloud_servers/')
        self._browser.find(f'tr[data-object-id="{self.servers["one"]}"]')
        self._browser.screenshot('servers')
        self._browser.open(_ALL)
        self._ask_for('one', 576)
        self._browser.find(_DONE)
        self._agree('one', probes.Sizes(2, 576))
        self._browser.until(lambda: self._says_settled(self.servers['one']))
        self._browser.screenshot('sizes', '#xloud-sizes')

    def migrate_2_24(self):
        """live migration, on a Nova up to 2.24"""
        self._migrate('2.24')

    def migrate_2_29(self):
        """on a Nova up to 2.29"""
        self._migrate('2.29')

    def migrate_2_67(self):
        """on a Nova up to 2.67"""
        self._migrate('2.67')

    def migrate_unlimited(self):
        """on a Nova of today"""
        self._migrate('unlimited')

    def empty_host(self):
        """all servers of a host that is disabled move"""
        source = self._host(_MOVING)
        self._set_status(source, 'disabled')
        try:
            self._as_administrator('/admin/hypervisors/')
            self._browser.find('[href="?tab=hypervisor_info__compute_host"], '
                               '[href*="compute_host"]').click()
            self._browser.click_action(
                source, '[id$="__action_migrate_maintenance"]')
            self._browser.submit(_DIALOG)
            self._browser.find('.alert-success')
            self._expect(self._moves(), [
                ('2.68', {'host': None, 'block_migration': 'auto'}, 202)],
                'what was sent')
            self._moved(source)
        finally:
            self._set_status(source, 'enabled')

    # What they are made of

    def errors(self):
        from selenium.common import exceptions

        return (*super().errors(), exceptions.WebDriverException)

    def tidy(self):
        if self._browser:
            # For whoever asks why a step failed.
            self._browser.driver.save_screenshot(
                str(self.site.logs / 'dashboard.png'))
            self._browser.quit()
        self.supervisor.stop(compute.API)
        compute.start_control(self.site, self.supervisor)

    def _start_nova(self, newest):
        self.supervisor.stop(compute.API)
        self._record.unlink(missing_ok=True)
        compute.start_watched(self.site, self.supervisor, self._record, newest)
        # Of any microversion, as they remember which there are.
        self.admin, self.owner, self.stranger = (
            client.connect(self.site, name, any_microversion=True)
            for name in (client.ADMIN, probes.OWNER, probes.STRANGER))

    def _as_member(self, path=_MINE):
        name = identity.CHECKERS[0]
        self._browser.login(name, self.site.passwords[name], path)

    def _as_administrator(self, path=_ALL):
        self._browser.login('admin', self.site.passwords['admin'], path)

    def _ask_for(self, name, memory_mb):
        self._browser.click_action(self.servers[name])
        self._browser.set_number('memory_mb', memory_mb)
        self._browser.submit()

    def _says_settled(self, server):
        self._browser.open(f'{_MINE}{server}/')
        self._browser.open_tab('xloud_sizes')
        return 'Settled' in self._browser.text('#xloud-sizes')

    def _migrate(self, name):
        offer = OFFERS[name]
        if _MOVING not in self.servers:
            self.remove_servers()
            self._create(_MOVING)
        self._start_nova(offer.newest)
        server, size = self.servers[_MOVING], self._desired(_MOVING)
        self._as_member()
        self._browser.find(f'tr[data-object-id="{server}"]')
        self._expect(self._browser.exists(_LIVE_MIGRATE), False,
                     'whether a member is offered a live migration')
        size = size._replace(memory_mb={448: 576}.get(size.memory_mb, 448))
        self._ask_for(_MOVING, size.memory_mb)
        self._browser.find(_DONE)
        self._agree(_MOVING, size)
        self._browser.until(lambda: self._says_settled(server))
        self._as_administrator()
        self._refused(server, offer)
        self._move_by_form(server, offer, 'yes', True, size)
        if 'auto' in offer.choices:
            self._move_by_form(server, offer, 'auto', False, size)

    def _refused(self, server, offer):
        """The hosts share no disks, so Nova must not take "no"."""
        source = self._host(_MOVING)
        (target,) = set(layout.HOSTS) - {source}
        self._open_form(server)
        self._expect(self._browser.options('host'), [_AUTOMATIC, target],
                     'the hosts that are offered')
        self._expect(tuple(self._browser.options('block_migration')),
                     offer.choices, 'what is offered for its disks')
        self._expect(self._browser.exists('[name=disk_over_commit]'),
                     offer.disk_over_commit, 'whether there is a box')
        self._browser.screenshot(
            f'migrate-{offer.newest or "unlimited"}', '.modal-content')
        self._browser.choose('host', target)
        self._browser.choose('block_migration', 'no')
        self._browser.submit(_DIALOG)
        if offer.answers_late:
            said, status = self._browser.text('.alert-danger'), 400
            self._expect(f'"{target}"' in said, True,
                         f'whether this names the host: {said}')
        else:
            said, status = self._browser.text('.alert-info'), 202
            self._expect('Action Log' in said, True,
                         f'whether this says where to look: {said}')
            self._wait(lambda: self._last_move(server) == 'Error',
                       'the Action Log says Error')
        self._expect(self._moves(), [
            (offer.sent_version, self._body(offer, target, False), status)],
            'what was sent')
        self._wait(lambda: self._is_at_rest(_MOVING), 'it is at rest')
        self._expect(self._host(_MOVING), source, 'its host')

    def _move_by_form(self, server, offer, choice, is_to_host, size):
        source = self._host(_MOVING)
        (target,) = set(layout.HOSTS) - {source}
        self._open_form(server)
        self._browser.choose('block_migration', choice)
        if is_to_host:
            self._browser.choose('host', target)
        if offer.disk_over_commit:
            self._browser.tick('disk_over_commit')
        self._browser.submit(_DIALOG)
        self._browser.find('.alert-info')
        self._expect(self._moves(), [(
            offer.sent_version,
            self._body(offer, target if is_to_host else None,
                       {'yes': True, 'auto': 'auto'}[choice],
                       offer.disk_over_commit), 202)], 'what was sent')
        self._moved(source)

    @staticmethod
    def _body(offer, host, block_migration, disk_over_commit=False):
        body = {'host': host, 'block_migration': block_migration}
        if offer.disk_over_commit:
            body['disk_over_commit'] = disk_over_commit
        return body

    def _open_form(self, server):
        self._browser.open(_ALL)
        self._browser.click_action(server, _LIVE_MIGRATE)

    def _moved(self, source):
        """It is on the other host, and its guest ran on."""
        self._wait(lambda: self._is_at_rest(_MOVING) and
                   self._host(_MOVING) != source, f'it left {source}')
        if compute.is_emulated(self.site) and self._has_panicked():
            self.show('    its guest did not survive that, as may be where '
                      'there is no KVM; it is started again')
            self._expect(self.owner.compute.post(
                f'/servers/{self.servers[_MOVING]}/action',
                json={'reboot': {'type': 'HARD'}}).status_code, 202,
                'the answer to a hard reboot')
            self._restarted(_MOVING)
        self._agree(_MOVING, self._desired(_MOVING))

    def _has_panicked(self):
        """QEMU may lose a page that it copies while it emulates a write."""
        self._wait(lambda: self._panic() or not self._problems(_MOVING),
                   lambda: f'{_MOVING}: {self._problems(_MOVING)}')
        return self._panic()

    def _panic(self):
        said = self._json(self.owner.compute.post(
            f'/servers/{self.servers[_MOVING]}/action',
            json={'os-getConsoleOutput': {'length': 20}}))['output']
        return 'Kernel panic' in said

    def _last_move(self, server):
        actions = self._json(self.admin.compute.get(
            f'/servers/{server}/os-instance-actions'))['instanceActions']
        request = next(action['request_id'] for action in actions
                       if action['action'] == 'live-migration')
        found = self._json(self.admin.compute.get(
            f'/servers/{server}/os-instance-actions/{request}'))
        events = found['instanceAction']['events']
        return events[-1]['result'] if events else None

    def _set_status(self, host, status):
        (service,) = (
            service for service in self.admin.compute.services(
                binary='nova-compute') if service.host == host)
        self._json(self.admin.compute.put(
            f'/os-services/{service.id}', json={'status': status},
            microversion='2.53'))

    def _moves(self):
        return [(version, body['os-migrateLive'], status)
                for _path, version, body, status in self._posted()
                if 'os-migrateLive' in body]

    def _adjusts(self):
        return [request for request in self._posted()
                if '/os-xloud-adjust/' in request[0]]

    def _posted(self):
        """Since the last time."""
        requests = map(json.loads, self._record.read_text().splitlines())
        self._record.write_text('')
        return [(request['path'], request['version'],
                 json.loads(request['body'] or '{}'), request['status'])
                for request in requests if request['method'] == 'POST']

    STEPS = ('log_in', 'adjust', 'refuse', 'administer', 'migrate_2_24',
             'migrate_2_29', 'migrate_2_67', 'migrate_unlimited',
             'empty_host', 'delete')
