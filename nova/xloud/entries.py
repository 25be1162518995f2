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

"""The books of an elastic server, in its system_metadata.

All that is stored about the sizes of a server is an entry of its books. This
module writes and reads entries and does not know what they mean. A copy of an
instance also says in its books how it has changed them, so that
nova.xloud.books can keep other writers from them.
"""

import typing as ty

# Of all keys: 'xloud_<word>_<dimension>' for a size.
PREFIX = 'xloud_'
# The books of each elastic server have it, and those of no other, unless a
# host without the series has changed the flavor.
ELASTIC = PREFIX + 'desired_vcpus'
# The books of a server have it while a revert makes it elastic as it was.
OLD = PREFIX + 'old_charged_vcpus'

# All of it is the books of a server. They have a number that grows with each
# change. A copy that was changed has a sign after the number which it began
# with. The database takes a change only of the newest: nova.xloud.books.
BOOKS = PREFIX + 'books'
UNWRITTEN_BOOKS = '0'
# Nothing else of this copy's system_metadata is to be stored.
ONLY_BOOKS = '*'
# The rest of it has changes as well.
BOOKS_TOO = '+'
# What was put aside for a revert is dropped, whatever else was changed.
NO_OLD_BOOKS = '-'


def open_books(instance) -> None:
    """Give a new server books. The caller creates the instance."""
    instance.system_metadata[BOOKS] = '1'


def of(instance) -> ty.Dict[str, str]:
    """All that is written about the sizes of a server."""
    return {key: value for key, value in instance.system_metadata.items()
            if is_entry(key) and key != BOOKS}


def is_entry(key: str) -> bool:
    """Whether a key of system_metadata belongs to the books of a server."""
    return key.startswith(PREFIX)


def is_old_size(key: str) -> bool:
    """Whether a key of system_metadata was put aside for a revert."""
    return key.startswith(PREFIX + 'old_')


def _keys(word):
    return ('%s%s_vcpus' % (PREFIX, word),
            '%s%s_memory_mb' % (PREFIX, word))


def read_size(instance, word):
    values = [instance.system_metadata.get(key) for key in _keys(word)]
    if None in values:
        return None
    vcpus, memory_mb = map(int, values)
    return vcpus, memory_mb


def write_size(instance, word, size):
    for key, value in zip(_keys(word), size):
        put(instance, key, str(value))


def drop_size(instance, word):
    for key in _keys(word):
        put(instance, key, None)


def move_size(instance, word, other):
    for key, other_key in zip(_keys(word), _keys(other)):
        put(instance, other_key, instance.system_metadata.get(key))
        put(instance, key, None)


def put(instance, key, value):
    """Change one entry of the books, None to drop it."""
    if instance.system_metadata.get(key) == value:
        return
    if value is None:
        del instance.system_metadata[key]
    else:
        instance.system_metadata[key] = value
    if not is_signed(instance, BOOKS_TOO):
        sign(instance, ONLY_BOOKS)


def sign_what_changed(instance):
    """Say that Nova's own changes in this copy are to be stored, too.

    Without such changes the copy may be older than others of Nova's entries,
    and must not overwrite them.
    """
    before, now = (
        {key: value for key, value in metadata.items() if not is_entry(key)}
        for metadata in (instance._orig_system_metadata,
                         instance.system_metadata))
    sign(instance, ONLY_BOOKS if before == now else BOOKS_TOO)


def sign(instance, how):
    """Say in the books how this copy of them was changed."""
    instance.system_metadata[BOOKS] = _known_books(instance) + how


def is_signed(instance, how):
    # An older nova-conductor may have stored a sign, which is part of what
    # is known then.
    return instance.system_metadata.get(BOOKS) == (
        _known_books(instance) + how)


def _known_books(instance):
    return instance._orig_system_metadata.get(BOOKS, UNWRITTEN_BOOKS)
