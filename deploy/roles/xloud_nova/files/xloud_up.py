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
is newer than the one that it finds first. The API is not in os-services: it
is asked for its versions.
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
    asked = parser.parse_args()
    import openstack

    cloud = openstack.connect(cloud=asked.cloud)
    deadline = time.monotonic() + asked.seconds
    first = said = None
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
                said = 'os-services does not know it'
                for service in found:
                    said = f'{service.state}, reported {service.updated_at}'
                    first = first or service.updated_at
                    if service.state == 'up' and (
                            service.updated_at != first):
                        print(said)
                        return 0
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
