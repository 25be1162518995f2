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

"""How much of a host new servers may take.

It imports nothing, so that the study of capacity runs this very code.
"""


def is_left(capacity: float, used: float, asked: float, percent: int) -> bool:
    """Whether a host keeps its room for growth with one more server.

    :param capacity: what the host may be charged in one dimension
    :param used: what it is charged
    :param asked: what the new server starts with
    :param percent: how much of the capacity new servers leave free
    """
    return used + asked <= capacity * (100 - percent) / 100
