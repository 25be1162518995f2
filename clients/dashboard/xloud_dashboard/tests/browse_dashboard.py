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

"""The package as a user sees it, in Chromium; only the cloud is made up."""

from django.contrib.staticfiles import testing
from selenium.webdriver.common.keys import Keys

from xloud_dashboard.tests import browser
from xloud_dashboard.tests import cloud

SERVERS = '/project/instances/'

# Horizon's list of flavors for a new server, with what is left of the quota
LIST_FLAVORS = '''
var limits = arguments[0], flavors = arguments[1];
angular.element(document.body).injector().invoke([
  '$compile', '$rootScope', 'launchInstanceModel',
  function ($compile, $rootScope, model) {
    var scope = window.launch = $rootScope.$new();
    scope.launchInstanceFlavorForm = {
      'allocated-flavor': {$setValidity: angular.noop}};
    model.newInstanceSpec = {instance_count: 1, source: []};
    $compile('<div ng-controller="LaunchInstanceFlavorController as ctrl">' +
             '</div>')(scope);
    scope.$digest();
    model.novaLimits = limits;
    model.flavors = flavors;
    scope.$digest();
  }]);
'''
# The errors of the only flavor, and what its charts add to the quota
LISTED = '''
var facade = window.launch.$$childHead.ctrl.availableFlavorFacades[0];
return [Object.keys(facade.errors), facade.vcpusChartData.data[1].value,
        facade.ramChartData.data[1].value];
'''


class DashboardTest(testing.StaticLiveServerTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = browser.Browser(cls.live_server_url)
        cls.addClassCleanup(cls.browser.quit)

    def setUp(self):
        super().setUp()
        self.cloud = cloud.Cloud()
        self.cloud.__enter__()
        self.addCleanup(self.cloud.__exit__, None, None, None)
        override = self.settings(
            OPENSTACK_KEYSTONE_URL=self.cloud.url + '/identity/v3')
        override.enable()
        self.addCleanup(override.disable)

    def test_a_member(self):
        self.browser.login('member', 'secret', SERVERS)
        self.assertTrue(self.browser.has_action(cloud.ELASTIC))
        self.assertTrue(self.browser.has_action(cloud.STOPPED))
        self.assertFalse(self.browser.has_action(cloud.FIXED))
        # The rows of a table ask nothing.
        self.assertEqual([], self.cloud.asked)

        self.browser.click_action(cloud.ELASTIC)
        self.assertIn('Adjust Size: web1', self.browser.text('.modal-title'))
        self.assertIn('2 to 8; 2 now, 2 charged',
                      self.browser.text('#xloud-vcpus-facts'))
        # Slider and number follow each other.
        self.browser.slide('vcpus', Keys.END)
        self.assertEqual('8', self.browser.value('#id_vcpus'))
        self.browser.set_number('memory_mb', 2048)
        self.assertEqual(
            '2048', self.browser.value('#xloud-memory_mb-slider'))
        self.assertEqual(
            '2048 MiB', self.browser.find('#xloud-memory_mb-slider')
            .get_attribute('aria-valuetext'))
        self.browser.screenshot('form', '.modal-content')

        # Refused: the form stays, and the keyboard is at the reason.
        self.browser.submit()
        self.assertEqual(cloud.NO_ROOM,
                         self.browser.text('[data-xloud-refusal]'))
        self.browser.until(lambda: self.browser.driver.switch_to
                           .active_element.text == cloud.NO_ROOM)
        self.assertEqual('8', self.browser.value('#id_vcpus'))
        self.browser.screenshot('refusal', '.modal-content')

        self.browser.slide('vcpus', Keys.HOME, Keys.RIGHT, Keys.RIGHT)
        self.browser.submit()
        self.assertIn('web1 gets 4 vCPUs, 2048 MiB.',
                      self.browser.text('.alert-info'))
        method, path, _query, body = self.cloud.asked[-1]
        self.assertEqual(
            ('POST', {'current_vcpus': 4, 'current_memory_mb': 2048,
                      'persist': True}), (method, body))

        self.browser.open(SERVERS + cloud.ELASTIC + '/')
        self.browser.open_tab('xloud_sizes')
        self.assertIn('In progress', self.browser.text('#xloud-sizes'))
        self.cloud.settle()
        self.browser.open(SERVERS + cloud.ELASTIC + '/')
        self.browser.open_tab('xloud_sizes')
        self.assertIn('Settled', self.browser.text('#xloud-sizes'))
        self.browser.find('[data-xloud-changes]')
        self.browser.screenshot('sizes', '#xloud-sizes')

    def test_by_keyboard_alone(self):
        """From the menu to the new size, without a mouse."""
        self.browser.login('member', 'secret', SERVERS)
        self.browser.click_action(cloud.STOPPED)
        names = []
        self.browser.until(lambda: self.browser.driver.switch_to
                           .active_element.tag_name != 'body')
        for _key in range(12):
            focused = self.browser.driver.switch_to.active_element
            name = (focused.get_attribute('name') or
                    focused.get_attribute('aria-label') or
                    focused.get_attribute('type'))
            names.append(name)
            if focused.get_attribute('type') == 'submit':
                break
            if name == 'vcpus':
                focused.send_keys(Keys.ARROW_UP)
            focused.send_keys(Keys.TAB)
        self.assertEqual(
            ['vCPUs', 'vcpus', 'Memory (MiB)', 'memory_mb'],
            [name for name in names if name in (
                'vCPUs', 'vcpus', 'Memory (MiB)', 'memory_mb')])
        focused.send_keys(Keys.RETURN)
        self.assertIn('spare will start with 3 vCPUs, 1024 MiB.',
                      self.browser.text('.alert-success'))

    def test_an_administrator(self):
        self.browser.login('admin', 'secret', '/admin/instances/')
        self.assertTrue(self.browser.has_action(cloud.ELASTIC))
        self.browser.open('/admin/xloud_servers/')
        self.assertIn('shop', self.browser.text('tr[data-object-id]'))
        self.browser.screenshot('servers')
        self.browser.find('#xloud-host').send_keys('cmp2' + Keys.RETURN)
        self.browser.until(lambda: 'host=cmp2' in
                           self.browser.driver.current_url)
        self.assertIn('spare', self.browser.text('#xloud_servers'))
        self.assertFalse(self.browser.exists(
            'tr[data-object-id="%s"]' % cloud.ELASTIC))
        self.browser.find('.btn-xloud-adjust').click()
        self.assertIn('Adjust Size: spare',
                      self.browser.text('.modal-title'))

    def test_a_cloud_without_the_series(self):
        self.cloud.has_series = False
        self.browser.login('admin', 'secret', SERVERS)
        self.browser.click_action(cloud.ELASTIC)
        self.assertIn('This cloud has no elastic servers',
                      self.browser.text('[data-xloud-problem]'))
        self.assertFalse(self.browser.exists(
            browser.FORM + ' [type=submit]'))
        self.browser.find('.modal .cancel').click()
        self.browser.open(SERVERS + cloud.ELASTIC + '/')
        self.browser.open_tab('xloud_sizes')
        self.assertIn('This cloud has no elastic servers',
                      self.browser.text('#xloud-sizes'))
        self.browser.open('/admin/xloud_servers/')
        self.assertIn('This cloud has no elastic servers',
                      self.browser.text('[data-xloud-problem]'))

    def list_flavors(self, cores, ram):
        """What the form for a new server lists if so much is left."""
        self.browser.open(SERVERS)
        self.browser.driver.execute_script(LIST_FLAVORS, {
            'maxTotalCores': 20, 'totalCoresUsed': 20 - cores,
            'maxTotalRAMSize': 9000, 'totalRAMUsed': 9000 - ram,
            'maxTotalInstances': 9, 'totalInstancesUsed': 3}, [cloud.FLAVOR])

    def listed(self):
        return self.browser.driver.execute_script(LISTED)

    def test_a_new_server(self):
        """Nova charges the minimum, so that has to fit the quota."""
        self.browser.login('member', 'secret', SERVERS)
        self.list_flavors(cores=2, ram=1024)
        self.browser.until(lambda: self.listed() == [[], 2, 1024])
        self.list_flavors(cores=1, ram=1024)
        self.browser.until(lambda: self.listed() == [['vcpus'], 2, 1024])
        self.list_flavors(cores=2, ram=1023)
        self.browser.until(lambda: self.listed() == [['ram'], 2, 1024])

    def test_a_server_of_a_fixed_size(self):
        self.browser.login('member', 'secret',
                           '/project/xloud_adjust/%s/' % cloud.FIXED)
        self.assertIn('its flavor has no range',
                      self.browser.text('[data-xloud-problem]'))
