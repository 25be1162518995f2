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
"""Wait until a service of Nova is up, by os-services of its cloud.

    python3 xloud_up.py CLOUD nova-compute HOST

A service is "up" for a while after it ended. So this waits for a report that
is newer than the one that it finds first. A host can have a conductor in each
of several cells: all that were up have to report. The API is not in
os-services: it is asked for its versions.

With --look it only sees whether it could ask. Otherwise a cloud that is not
in clouds.yaml would be found out only after a restart. It asks nobody, because
the API may be what is to be repaired.
"""

import argparse
import sys
import time

API = 'nova-api'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cloud', help='a name in clouds.yaml')
    parser.add_argument('binary')
    parser.add_argument('host')
    parser.add_argument('--seconds', type=float, default=180)
    parser.add_argument('--look', action='store_true',
                        help='only see whether it could ask this cloud')
    asked = parser.parse_args()
    try:
        import openstack

        cloud = openstack.connect(cloud=asked.cloud)
    except Exception as error:
        print(f'{asked.cloud} cannot be asked: {error}', file=sys.stderr)
        return 1
    if asked.look:
        return 0
    deadline = time.monotonic() + asked.seconds
    first = {}
    while True:
        try:
            if asked.binary == API:
                answer = cloud.compute.get('/', raise_exc=False)
                said = f'it answers {answer.status_code}'
                if answer.status_code == 200:
                    break
            else:
                found = [service for service in cloud.compute.services(
                    binary=asked.binary) if service.host == asked.host]
                said = ', '.join(
                    f'{service.state}, reported {service.updated_at}'
                    for service in found) or 'os-services does not know it'
                up = {service.id: service.updated_at for service in found
                      if service.state == 'up'}
                first = {**up, **first}
                if first and all(up.get(known, at) != at
                                 for known, at in first.items()):
                    break
        # The API itself may be the one that starts.
        except Exception as error:
            said = str(error)
        if time.monotonic() > deadline:
            print(f'{asked.binary} on {asked.host} is not up after '
                  f'{asked.seconds:.0f} s: {said}', file=sys.stderr)
            return 1
        time.sleep(1)
    print(said)
    return 0


if __name__ == '__main__':
    sys.exit(main())
