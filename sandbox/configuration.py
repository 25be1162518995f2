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


"""Configuration files as oslo.config reads them, and what they share."""

from pathlib import Path
import typing as ty

from sandbox import layout

Sections = ty.Dict[str, ty.Dict[str, ty.Any]]


def text(sections: Sections) -> str:
    lines = []
    for name, options in sections.items():
        lines.append(f'[{name}]')
        for key, value in options.items():
            if isinstance(value, bool):
                value = str(value).lower()
            lines.append(f'{key} = {value}'.rstrip())
        lines.append('')
    return '\n'.join(lines)


def write(path: Path, sections: Sections) -> Path:
    """All of them hold passwords."""
    layout.write_secret(path, text(sections))
    return path


def account(site: layout.Layout, name: str) -> ty.Dict[str, ty.Any]:
    """How a service authenticates as itself."""
    return {
        'auth_type': 'password',
        'auth_url': site.identity_url,
        'username': name,
        'password': site.passwords[name],
        'project_name': 'service',
        'user_domain_id': 'default',
        'project_domain_id': 'default',
        'region_name': layout.REGION,
    }


def token_check(site: layout.Layout, name: str) -> ty.Dict[str, ty.Any]:
    """The section keystone_authtoken of a service."""
    return {
        **account(site, name),
        'www_authenticate_uri': site.identity_url,
        'interface': 'public',
        'service_token_roles_required': True,
    }
