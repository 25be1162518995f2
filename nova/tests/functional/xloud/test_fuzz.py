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

"""Whatever is sent, the answer is a proper one and nothing is half done."""

import re
import urllib.parse

import hypothesis
from hypothesis import strategies as st
import jsonschema
from oslo_serialization import jsonutils

from nova.api.openstack.compute.schemas import xloud_adjust as schema
from nova.tests.functional.xloud import answers_base
from nova.tests.functional.xloud import base
from nova.xloud import size

FIELDS = schema.adjust['properties']

ODD = [
    '4', ' 4', '4 ', '4\n', '+4', '-4', '04', '0000000004', '00000000004',
    '4.0', '0x4', '1_0', '', '\u0664', '\uff14', '\u00b2', '\x00', '\ud800',
    'true', 'x' * 70000, '9' * 5000, 10 ** 400, -0.0, 4.0, 2 ** 31 - 1,
    2 ** 31, 2 ** 63, float('nan'), float('inf'), None, True, [4], {'4': 4}]

# Any JSON value, and what Python writes beside.
texts = st.text(st.characters(), max_size=20)
scalars = (st.none() | st.booleans() | texts | st.floats() |
           st.integers(-2 ** 80, 2 ** 80) | st.sampled_from(ODD))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        texts, inner, max_size=3), max_leaves=6)


def valid(field):
    """What a property of the schema takes."""
    if 'enum' in field:
        return st.sampled_from(field['enum'])
    numbers = st.integers(field['minimum'], field['maximum'])
    return numbers | numbers.map(str)


def near(lowest, highest):
    """Sizes that a server can have, and some beyond the bounds."""
    numbers = st.integers(lowest - 2, highest + 2)
    return numbers | numbers.map(str)


likely = {
    'current_vcpus': near(base.MINIMUM.vcpus, base.MAXIMUM.vcpus),
    'current_memory_mb': near(base.MINIMUM.memory_mb, base.MAXIMUM.memory_mb),
    'persist': st.booleans() | valid(FIELDS['persist']),
}
good_bodies = st.fixed_dictionaries({}, optional=likely)
valid_bodies = st.fixed_dictionaries({}, optional={
    name: valid(field) for name, field in FIELDS.items()})
odd_bodies = values | st.fixed_dictionaries(
    {}, optional={name: values | valid(field)
                  for name, field in FIELDS.items()}
) | st.tuples(good_bodies, st.dictionaries(texts, values, max_size=2)).map(
    lambda parts: {**parts[1], **parts[0]})
bodies = st.sampled_from(
    [good_bodies, good_bodies, valid_bodies, odd_bodies]
).flatmap(lambda kind: kind).map(jsonutils.dumps)
# The last one of them counts.
repeated_keys = st.lists(
    st.tuples(st.sampled_from(sorted(FIELDS)),
              st.one_of(list(likely.values())).map(jsonutils.dumps)),
    min_size=2, max_size=4).map(
    lambda parts: '{%s}' % ','.join('"%s": %s' % part for part in parts))
# Upstream answers what is not UTF-8, and multipart forms without a boundary,
# with 500 at each of its paths. Neither gets to us.
not_json = st.text(
    st.characters(exclude_categories=['Cs']), max_size=40) | st.sampled_from(
    ['', '{', '{}{}', 'null', '[' * 90 + ']' * 90, '{"current_vcpus": 4',
     "{'current_vcpus': 4}", '{"current_vcpus": 4} trailing',
     '{"current_vcpus": 0x4}', '{"current_vcpus": NaN}',
     '{"current_vcpus": 1e400}', '\ufeff{"current_vcpus": 4}',
     'current_vcpus=4'])
content_types = st.sampled_from(
    ['application/json'] * 6 + [
        'application/json; charset=utf-16', 'application/xml', 'text/plain',
        'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x',
        ''])
server_ids = texts | st.sampled_from(
    ['..', '.', '%', '\x00', 'detail', '0' * 5000, "' OR 1=1 --", 'None',
     '{server_id}', '00000000-0000-0000-0000-000000000000'])
versions = st.sampled_from(
    [None, '2.1', '2.96', 'latest', '2.0', '2.9999', '3.0', 'x', ''])


def fuzz(examples):
    # The same examples in each run; a service in the same process is slow
    # to answer now and then.
    return hypothesis.settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))


class FuzzTestCase(answers_base.AnswersBase):

    def setUp(self):
        super().setUp()
        self.url = '/os-xloud-adjust/' + self.server['id']

    def send(self, url, method='GET', body=None, content_type=None,
             version=None):
        self.owner.microversion = version
        response = self.owner.api_request(
            url, method=method, body=body,
            headers={'Content-Type': content_type or 'application/json'})
        self.assertLess(response.status_code, 500, (url, body, response.text))
        if response.status_code >= 400:
            self.assertNotIn('Traceback', response.text)
        return response

    def check(self, before, response):
        """Everything was done, or nothing."""
        if response.status_code != 202:
            self.assertEqual(before, self.all_of(self.server), response.text)
            return
        jsonschema.validate(response.json(), schema.adjust_response)
        status = response.json()['xloud_status']
        instance = self.instance(self.server)
        desired, boot = size.desired(instance), size.boot(instance)
        for word, held in (('desired', desired), ('boot', boot),
                           ('actual', self.guest.held),
                           ('allocated', size.largest(desired, boot))):
            self.assertEqual(held, (status[word + '_vcpus'],
                                    status[word + '_memory_mb']), word)
        self.assertEqual('Settled', status['condition'])
        self.assertEqual(desired, self.guest.held)
        self.assertEqual(boot, self.guest.config)
        self.assertIsNone(instance.task_state)
        charge = size.largest(desired, boot)
        self.assertEqual(charge, (instance.vcpus, instance.memory_mb))
        self.assertEqual({'host1': charge}, self.allocated(instance.uuid))
        for lowest, held, highest in zip(base.MINIMUM, charge, base.MAXIMUM):
            self.assertTrue(lowest <= held <= highest)

    def is_wanted(self, body):
        """Whether this server should take that, by other words than ours."""
        try:
            body = jsonutils.loads(body)
        except ValueError:
            return False
        if not isinstance(body, dict) or not set(body) <= set(FIELDS):
            return False
        sizes = [(body[name], lowest, highest) for name, lowest, highest in (
            ('current_vcpus', *self.limits(0)),
            ('current_memory_mb', *self.limits(1))) if name in body]
        return bool(sizes) and all(
            (type(value) is int or type(value) is str and
             len(value) <= 10 and re.match('[0-9]+$', value)) and
            lowest <= int(value) <= highest
            for value, lowest, highest in sizes) and (
                'persist' not in body or (
                    type(body['persist']) in (bool, str) and
                    body['persist'] in FIELDS['persist']['enum']))

    def limits(self, dimension):
        return base.MINIMUM[dimension], base.MAXIMUM[dimension]

    def test_bodies(self):
        seen = set()

        @fuzz(150)
        @hypothesis.given(bodies | repeated_keys)
        def send(body):
            before = self.all_of(self.server)
            response = self.send(self.url, 'POST', body)
            self.assertEqual(
                202 if self.is_wanted(body) else 400, response.status_code,
                (body, response.text))
            self.check(before, response)
            seen.add(response.status_code)

        for name in FIELDS:
            for value in ODD:
                send = hypothesis.example(
                    jsonutils.dumps({'current_vcpus': 4, name: value}))(send)
        send()
        self.assertEqual({202, 400}, seen)
        self.assert_charged(self.server, size.charged(
            self.instance(self.server)), 'host1')

    def test_what_is_no_json(self):
        @fuzz(60)
        @hypothesis.given(not_json | bodies, content_types,
                          versions)
        def send(body, content_type, version):
            before = self.all_of(self.server)
            response = self.send(
                self.url, 'POST', body.encode(), content_type, version)
            self.assertIn(response.status_code, (202, 400, 406, 415))
            self.check(before, response)

        send()

    def test_server_ids(self):
        before = self.all_of(self.server)

        @fuzz(50)
        @hypothesis.given(server_ids, st.booleans())
        def send(server_id, is_quoted):
            if is_quoted:
                server_id = urllib.parse.quote(
                    server_id, safe='', errors='replace')
            else:
                server_id = server_id.encode(
                    'ascii', 'replace').decode().split('#')[0].split('?')[0]
            body = '{"current_vcpus": 4}'
            for method, url, body in (
                    ('GET', '/os-xloud-adjust/%s', None),
                    ('POST', '/os-xloud-adjust/%s', body),
                    ('GET', '/servers/%s/xloud-status', None)):
                response = self.send(url % server_id, method, body)
                self.assertIn(response.status_code, (
                    200, 300, 400, 404, 405), (url, server_id))

        send()
        self.assertEqual(before, self.all_of(self.server))
