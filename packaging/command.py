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
"""The command that adds the series to what a distribution builds from."""

import argparse
import os
from pathlib import Path
import sys
import typing as ty

import source as _source


class Kind(ty.NamedTuple):
    """What differs between the kinds of packages."""

    description: str
    # The option that names what the distribution builds from
    option: str
    metavar: str
    # Takes a Source, the patches, that path, a maintainer and an output folder
    build: ty.Callable[[_source.Source, Path, Path, str, Path], Path]
    # What a person does with what was built
    then: str


def run(kind: Kind, arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=kind.description)
    parser.add_argument('--tree', type=Path, required=True, metavar='DIR')
    parser.add_argument('--patches', type=Path, required=True, metavar='DIR')
    parser.add_argument(kind.option, dest='recipe', type=Path, required=True,
                        metavar=kind.metavar)
    parser.add_argument('--maintainer', required=True,
                        metavar='NAME <ADDRESS>')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    asked = parser.parse_args(arguments)
    try:
        with _source.of_tree(asked.tree) as source:
            made = kind.build(source, asked.patches, asked.recipe,
                              asked.maintainer, asked.output)
    except _source.Refused as reason:
        print(f'build: {reason}', file=sys.stderr)
        return 1
    print(f'{os.path.relpath(made)}: {kind.then}')
    return 0
