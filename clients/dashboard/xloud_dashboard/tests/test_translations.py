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

"""That all texts can be translated, and are; and that a wheel has them."""

import gettext
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import unittest

from babel.messages import extract
from babel.messages import pofile

import xloud_dashboard

_PACKAGE = Path(xloud_dashboard.__file__).parent
_PROJECT = _PACKAGE.parent
_LANGUAGES = ('de',)
_METHODS = [
    ('templates/**.html', 'enmerkar.extract:extract_django'),
    ('tests/**', 'ignore'),
    ('**.py', 'python'),
]


def _texts(path):
    with open(path, 'rb') as text:
        return {message.id: message for message in pofile.read_po(text)
                if message.id}


class TranslationsTest(unittest.TestCase):

    def test_all_are_extracted(self):
        found = {message for _file, _line, message, *_rest in
                 extract.extract_from_dir(
                     str(_PACKAGE), _METHODS, keywords={
                         **extract.DEFAULT_KEYWORDS, 'gettext_lazy': None})}
        self.assertEqual(
            found, set(_texts(_PACKAGE / 'locale' / 'django.pot')),
            'README.rst says how django.pot is made')

    def test_languages_are_complete(self):
        expected = _texts(_PACKAGE / 'locale' / 'django.pot')
        for language in _LANGUAGES:
            translated = _texts(_PACKAGE / 'locale' / language /
                                'LC_MESSAGES' / 'django.po')
            self.assertEqual(set(expected), set(translated))
            for key, message in translated.items():
                self.assertFalse(message.fuzzy, key)
                pairs = (zip(key, message.string) if isinstance(key, tuple)
                         else [(key, message.string)])
                for original, text in pairs:
                    self.assertTrue(text, key)
                    self.assertEqual(
                        *(sorted(re.findall(r'%(?:\(\w+\))?[sd]', words))
                          for words in (original, text)))


class WheelTest(unittest.TestCase):

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, 'setup.py', '-q', 'egg_info', '-e', folder,
                 'build_py', '-d', folder], cwd=_PROJECT,
                env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
                check=True, capture_output=True)
            built = Path(folder, 'xloud_dashboard')
            for name in ('policy/xloud.yaml', 'templatetags/xloud.py',
                         'enabled/_2250_xloud_adjust.py',
                         'static/xloud_dashboard/adjust.js',
                         'static/xloud_dashboard/launch.js',
                         'templates/xloud_dashboard/_adjust.html'):
                self.assertTrue((built / name).exists(), name)
            self.assertFalse((built / 'tests').exists())
            for language in _LANGUAGES:
                with open(built / 'locale' / language / 'LC_MESSAGES' /
                          'django.mo', 'rb') as compiled:
                    self.assertNotEqual(
                        'Adjust Size', gettext.GNUTranslations(
                            compiled).gettext('Adjust Size'))
