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
"""What patches/RELEASE says of testing that release."""

import configparser
import dataclasses
import os
from pathlib import Path
import re
import typing as ty

ROOT = Path(__file__).resolve().parent.parent
OLDEST = '2024.1'
# The one that this process is about.
RELEASE = os.environ.get('XLOUD_RELEASE', OLDEST)


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The lanes of one release."""

    release: str
    pythons: ty.Tuple[str, ...]
    concurrency: ty.Tuple[str, ...]
    extras: ty.Tuple[str, ...]

    @property
    def folder(self) -> Path:
        return ROOT / 'patches' / self.release

    @property
    def constraints(self) -> Path:
        return self.folder / 'constraints.txt'

    @property
    def placement(self) -> str:
        """The requirement of Placement, as constraints.in pins it."""
        found = re.search(r'^openstack-placement==\S+', (
            self.folder / 'constraints.in').read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f'{self.folder}/constraints.in pins no '
                             'openstack-placement')
        return found.group()


def lanes(release: str = RELEASE) -> Lanes:
    config = configparser.ConfigParser()
    path = ROOT / 'patches' / release / 'lanes.ini'
    with path.open(encoding='utf-8') as lines:
        config.read_file(lines)
    values = {key: tuple(value.split())
              for key, value in config['lanes'].items()}
    return Lanes(release, **values)


def known() -> ty.List[str]:
    """The oldest first."""
    return sorted(path.parent.name
                  for path in ROOT.glob('patches/*/lanes.ini'))
