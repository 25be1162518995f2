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


"""Schemas as migrations leave them, kept for the next sandbox.

The migrations cost a minute of two processors, and end in the same tables
each time. What is kept is from before anything of a sandbox is in it.
"""

import hashlib
from pathlib import Path
import typing as ty

from sandbox import database
from sandbox import layout
from sandbox import processes


def fill(site: layout.Layout, names: ty.Sequence[str],
         migrate: ty.Callable[[], None]) -> None:
    """Fill schemas with what was kept of them, or migrate and keep it."""
    kept = layout.FOLDER / 'schemas' / f'{names[0]}.sql'
    head = f'-- {_fingerprint(site)}\n'
    if kept.exists() and kept.read_text().startswith(head):
        if not database.ask(site, kept.read_text()):
            raise processes.Failed(f'mariadb does not read {kept}')
        return
    # What is there already may have secrets in it.
    is_empty = not any(_dump(site, name) for name in names)
    migrate()
    if is_empty:
        layout.write_secret(kept, head + ''.join(
            f'USE {name};\n{_dump(site, name)}' for name in names))


def _dump(site, name):
    """Statements that make the tables of a schema anew, if it has any."""
    import pymysql

    statements = []
    with pymysql.connect(
            unix_socket=str(database.socket(site)), user='root',
            database=name) as connection, connection.cursor() as cursor:
        cursor.execute('SHOW TABLES')
        for (table,) in cursor.fetchall():
            cursor.execute(f'SHOW CREATE TABLE `{table}`')
            statements += [f'DROP TABLE IF EXISTS `{table}`',
                           cursor.fetchone()[1]]
            cursor.execute(f'SELECT * FROM `{table}`')
            for row in cursor.fetchall():
                places = ', '.join(['%s'] * len(row))
                statements.append(cursor.mogrify(
                    f'INSERT INTO `{table}` VALUES ({places})', row))
    if not statements:
        return ''
    # Tables refer to those that come after them.
    return ';\n'.join(['SET FOREIGN_KEY_CHECKS = 0', *statements, ''])


def _fingerprint(site):
    """Of all that the tables depend on."""
    digest = hashlib.sha256()
    for path in (layout.ENV / 'installed', site.nova_env / 'installed',
                 *sorted((site.nova_tree / 'nova' / 'db').rglob('*.py')),
                 *sorted(Path(__file__).parent.glob('*.py'))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
