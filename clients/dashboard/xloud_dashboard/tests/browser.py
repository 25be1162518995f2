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

"""What a user does in a browser: for the lane browser and for the sandbox."""

import os

import selenium
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import ui

# A busy machine compresses Horizon's style for the first page.
_PATIENCE = int(os.environ.get('XLOUD_BROWSER_PATIENCE', '240'))
# Where pictures are wanted, if anywhere.
_SCREENSHOTS = os.environ.get('XLOUD_SCREENSHOTS')
FORM = '#xloud-adjust-form'


class Browser:
    """Chromium without a window.

    :param url: of Horizon
    """

    def __init__(self, url, language='en'):
        self.url = url
        options = webdriver.ChromeOptions()
        for argument in ('--headless=new', '--no-sandbox', '--disable-gpu',
                         '--disable-dev-shm-usage', '--lang=' + language,
                         '--window-size=1280,900', '--hide-scrollbars'):
            options.add_argument(argument)
        options.add_experimental_option(
            'prefs', {'intl.accept_languages': language})
        if selenium.__version__.startswith('3'):
            self.driver = webdriver.Chrome(options=options)
        else:
            from selenium.webdriver.chrome.service import Service
            self.driver = webdriver.Chrome(
                options=options, service=Service('/usr/bin/chromedriver'))
        self.driver.set_page_load_timeout(_PATIENCE)

    def quit(self):
        self.driver.quit()

    def open(self, path):
        self.driver.get(self.url + path)

    def send_login(self, name, password, path):
        self.driver.delete_all_cookies()
        self.open('/auth/login/?next=' + path)
        self.find('#id_username').send_keys(name)
        self.find('#id_password').send_keys(password + Keys.RETURN)

    def login(self, name, password, path):
        """Log in and go to a page."""
        self.send_login(name, password, path)
        self.until(lambda: self.driver.current_url == self.url + path)

    def until(self, holds):
        """Wait until something is true, and return it."""
        return ui.WebDriverWait(
            self.driver, _PATIENCE,
            ignored_exceptions=[Exception]).until(lambda _driver: holds())

    def find(self, selector):
        """The first element that can be seen, waited for."""
        return self.until(lambda: self._shown(selector))

    def _shown(self, selector):
        for element in self.driver.find_elements(By.CSS_SELECTOR, selector):
            if element.is_displayed():
                return element
        return None

    def exists(self, selector):
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector):
        return self.find(selector).text

    def has_action(self, server_id):
        """Whether the row of a server has ours."""
        self.find(_row(server_id))
        return self.exists(_row(server_id) + ' .btn-xloud-adjust')

    def click_action(self, object_id, action='.btn-xloud-adjust'):
        """Open the menu of a row, and *Adjust Size* in it."""
        self.find(_row(object_id) + ' .dropdown-toggle').click()
        self.find(_row(object_id) + ' ' + action).click()
        # It moves into the page.
        self.until(lambda: self.driver.execute_script(
            'return $(".modal:visible").css("opacity") == 1'))

    def set_number(self, key, size):
        field = self.find('%s [name=%s]' % (FORM, key))
        field.send_keys(Keys.CONTROL + 'a')
        field.send_keys(str(size))

    def slide(self, key, *keys):
        """Move a slider with the keyboard."""
        self.find('#xloud-%s-slider' % key).send_keys(*keys)

    def value(self, selector):
        return self.find(selector).get_attribute('value')

    def choose(self, name, value):
        """Open one of Horizon's lists, and click what it offers."""
        self.find(_list(name) + ' .dropdown-toggle').click()
        self.find(_list(name) + ' [data-select-value="%s"]' % value).click()

    def options(self, name):
        """What such a list offers, as soon as it is there."""
        self.find(_list(name))
        return [option.get_attribute('value') for option in
                self.driver.find_elements(
                    By.CSS_SELECTOR, 'select[name=%s] option' % name)]

    def tick(self, name):
        # The style puts its label over a box.
        self.find('label[for=id_%s]' % name).click()

    def submit(self, form=FORM):
        self.find(form + ' [type=submit]').click()

    def open_tab(self, slug):
        self.find('a[href*="tab=instance_details__%s"], '
                  'a[data-target*="%s"]' % (slug, slug)).click()

    def screenshot(self, name, selector=None):
        """A picture for the manual, if somebody wants one."""
        if not _SCREENSHOTS:
            return
        os.makedirs(_SCREENSHOTS, exist_ok=True)
        path = os.path.join(_SCREENSHOTS, name + '.png')
        self.driver.set_window_size(1280, 1500 if selector else 560)
        if selector:
            self.find(selector).screenshot(path)
        else:
            self.driver.save_screenshot(path)
        self.driver.set_window_size(1280, 900)


def _row(object_id):
    return 'tr[data-object-id="%s"]' % object_id


def _list(name):
    return '.themable-select:has(select[name=%s])' % name
