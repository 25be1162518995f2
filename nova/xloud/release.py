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

"""Which release of XLoud Nova runs.

A version is the one of the base, then the number of our release:
``29.4.0+xloud.1``. pbr before 7 reads such a version wrongly, as 29.4.1. A
distribution may build the package under the version of its base alone. So
every service asks here.
"""

from importlib import metadata

# Releases are counted from 1. The tag of this one in the repository of the
# series is xloud-NUMBER.
NUMBER = 1


def version_string() -> str:
    """The version of the base and the number of this release."""
    base, _plus, _local = metadata.version('nova').partition('+')
    return f'{base}+xloud.{NUMBER}'
