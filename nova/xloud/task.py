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

"""Which request changes a server.

While a server changes its size it has a task state, as in every operation of
Nova. That keeps others away, but does not show who set it, because a resize
uses the same value. So the request writes its token beside it, in the books of
the server:

offered
    nova-api has taken the task and asks the compute service. Until that has
    accepted, nova-api may take the task back and refuse the request.
claimed
    As before, and the server is charged for its growth already.
accepted
    The compute service has recorded what was asked, in the same save. It is
    done now, or by a reconcile.
refused
    The compute service has gone back to what was before. nova-api gives the
    task back and says why.
done
    It has ended. There is no task state any more.

The database accepts a change of the books only from a writer that knows the
newest. So either nova-api takes a request back or the compute service accepts
it, and no clocks are compared: a refused request never happens, and an
accepted one is not refused.
"""

import contextlib
import time
import typing as ty

from oslo_concurrency import lockutils
from oslo_db import api as oslo_db_api
from oslo_log import log as logging
from oslo_utils import excutils

from nova.compute import task_states
from nova import exception
from nova.i18n import _
from nova import objects
from nova.xloud import books
from nova.xloud import entries
from nova.xloud import failures
from nova.xloud import notes
from nova.xloud import size

LOG = logging.getLogger(__name__)

# An existing value, so that no version changes. It keeps moves, snapshots and
# other changes away. A compute service clears it when it starts.
TASK = task_states.RESIZE_PREP

OFFERED = 'offered'
CLAIMED = 'claimed'
ACCEPTED = 'accepted'
REFUSED = 'refused'
DONE = notes.TASK_DONE

# Seconds that a compute service waits for its other work on a server.
LOCK_WAIT = 5
# After these seconds, the compute service takes back a request that nobody
# works on, because nova-api died. A living nova-api waits less.
PATIENCE = 120


class Task(ty.NamedTuple):
    token: str
    state: str


def of(instance) -> ty.Optional[Task]:
    value = notes.task(instance)
    return Task(*value.split(' ')) if value else None


def note(instance, token: str, state: str) -> None:
    """Note the state of a request. The caller saves the instance."""
    notes.note_task(instance, ' '.join((token, state)))


def is_noted(instance) -> bool:
    """Whether the books say that an adjust has not ended.

    A restart of the compute service or a reset of the server's state can have
    cleared the task state since.
    """
    known = of(instance)
    return known is not None and known.state != DONE


def is_running(instance) -> bool:
    """Whether the server has its task state because of an adjust."""
    return instance.task_state == TASK and is_noted(instance)


def seen_as(instance) -> ty.Optional[str]:
    """The task state that the status of a server follows.

    A resize has a status of its own. An adjust has none: the status stays what
    it was.
    """
    task_state = instance.get('task_state')
    if task_state == TASK and size.is_elastic(instance.flavor) and (
            is_running(instance)):
        return None
    return task_state


def forget(instance) -> None:
    """End a task of which only the record is left: another one has begun.

    When a compute service starts, it clears the task state and nothing else.
    The caller saves the instance.
    """
    if size.is_elastic(instance.flavor) and is_noted(instance):
        known = of(instance)
        _end(instance, known.token, known.state == ACCEPTED)
        # The task that has begun has entries of its own.
        entries.sign_what_changed(instance)


def range_of(instance) -> ty.List[int]:
    """What must not change while a request for the server is valid."""
    flavor = instance.flavor
    return [flavor.id, *size.minimum(flavor), *size.maximum(flavor)]


def locked_now(instance_uuid):
    """Hold the lock of a server, without a wait.

    The decorator of oslo.concurrency leaves out its function without a sign
    if somebody else holds the lock.

    :raises: AcquireLockFailedException if something else holds it
    """
    return lockutils.lock(
        instance_uuid, lock_file_prefix='nova-', blocking=False)


@contextlib.contextmanager
def locked(instance_uuid):
    """Hold the lock of a server, after a short wait at most.

    :raises: ElasticConflict if something else holds it
    """
    for is_last in [False] * LOCK_WAIT * 10 + [True]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked_now(instance_uuid))
            except lockutils.AcquireLockFailedException:
                if is_last:
                    raise exception.ElasticConflict(
                        instance_uuid=instance_uuid,
                        reason=_('its host is busy with it, for example '
                                 'because a volume is being swapped or '
                                 'attached. Try again when that has ended.'))
            else:
                yield
                return
        time.sleep(0.1)


# The part of nova-api, which has access to the database.

def take(context, instance, token: str):
    """Take the task of a server that has none.

    :returns: the Instance as it was taken
    :raises: ElasticConflict if it has one, or has left the state in which it
        was read
    """
    try:
        try:
            _take_as_read(context, instance, token)
            return instance
        except exception.InstanceUpdateConflict:
            # Perhaps only its books have changed since.
            return _take(context, instance, token)
    except exception.InstanceUpdateConflict as error:
        LOG.debug('It is not taken: %s', error, instance=instance)
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('another operation on it is running. Try again when that '
                     'has ended.'))
    except exception.InstanceNotFound:
        raise
    except Exception:
        with excutils.save_and_reraise_exception():
            # It may have been taken nevertheless.
            give_back(context, instance, token)


def _tried_again(is_outdated, **kwargs):
    """Look again and go on from there, a few times.

    What looks and what saves are not one transaction: the save is refused if
    the server has changed since. In one, the database layer would repeat a
    save that a deadlock has undone, and not what was read before. A deadlock
    itself is no reason to look again: the database layer has repeated the save
    for as long as a user can wait.

    :param is_outdated: whether an error says that the server has changed
    """
    return oslo_db_api.wrap_db_retry(
        max_retries=5, retry_interval=0.2, exception_checker=is_outdated,
        **kwargs)


def _is_outdated(error):
    return isinstance(error, exception.InstanceUpdateConflict)


def _are_books_outdated(error):
    return _is_outdated(error) and entries.BOOKS in error.kwargs['expected']


def _take_as_read(context, instance, token):
    found = objects.Instance(
        context=context, uuid=instance.uuid, task_state=None,
        system_metadata=dict(instance.system_metadata))
    found.obj_reset_changes()
    found.task_state = TASK
    note(found, token, OFFERED)
    books.save(found, expected_task_state=[None],
               expected_vm_state=[instance.vm_state])


@_tried_again(_are_books_outdated)
def _take(context, instance, token):
    found = _newest(context, instance)
    found.task_state = TASK
    note(found, token, OFFERED)
    books.save(found, expected_task_state=[None],
               expected_vm_state=[instance.vm_state])
    return found


@_tried_again(_is_outdated, retry_on_disconnect=True)
def give_back(context, instance, token: str) -> bool:
    """Give back the task of a request that cannot run.

    :returns: True if it was accepted, so it was or will be carried out
    """
    found = _newest(context, instance)
    known = of(found)
    if known is None or known.token != token:
        return False
    if known.state in (ACCEPTED, DONE):
        return True
    task_state = found.task_state
    if task_state == TASK:
        found.task_state = None
    _end(found, token, is_accepted=False)
    books.save(found, expected_task_state=[task_state])
    return False


def _newest(context, instance):
    return objects.Instance.get_by_uuid(
        context, instance.uuid, expected_attrs=['flavor', 'system_metadata'])


class Unclaimed:
    """The tasks on a host that nobody ends any more."""

    def __init__(self):
        # Tokens of the requests that this service works on now.
        self._at_work: ty.Set[str] = set()
        # When this service first saw a request, by its own clock.
        self._seen: ty.Dict[str, float] = {}

    @contextlib.contextmanager
    def at_work(self, token: str):
        self._at_work.add(token)
        try:
            yield
        finally:
            self._at_work.discard(token)

    def give_back(self, context, instances) -> None:
        """Give back the tasks that nobody ends.

        :param instances: all servers of the host. Those whose tasks are given
            back are read again.
        """
        tokens = {instance.uuid: of(instance).token for instance in instances
                  if size.is_elastic(instance.flavor) and
                  is_noted(instance)}
        self._seen = {token: self._seen.get(token, time.monotonic())
                      for token in tokens.values()}
        for instance in instances:
            token = tokens.get(instance.uuid)
            if token is None or token in self._at_work:
                continue
            # The failure of one server must not stop the others.
            with failures.warned(LOG, 'Its task is given back later: %s',
                                 instance=instance):
                self._give_back(context, instance, token)

    def _give_back(self, context, instance, token):
        try:
            if self._give_back_in_lock(context, instance.uuid, token):
                instance.refresh()
        except (exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Its task has ended: %s', error, instance=instance)
        except lockutils.AcquireLockFailedException:
            LOG.debug('Its task is not given back: it is in use.',
                      instance=instance)

    def _give_back_in_lock(self, context, instance_uuid, token) -> bool:
        """:returns: whether that was done"""
        with locked_now(instance_uuid):
            instance = objects.Instance.get_by_uuid(
                context, instance_uuid,
                expected_attrs=['flavor', 'system_metadata'])
            known = of(instance)
            if not is_noted(instance) or known.token != token:
                return False
            waited = time.monotonic() - self._seen[token]
            if is_running(instance) and known.state != ACCEPTED and (
                    waited < PATIENCE):
                return False
            LOG.warning('Request %s of the server is %s and nobody works on '
                        'it. Its task is given back.', *known,
                        instance=instance)
            end(instance, token, is_accepted=known.state == ACCEPTED)
            return True


def end(instance, token: str, is_accepted=True) -> None:
    """End the task of a request on the compute service.

    If its task state was cleared already, the server may have another one.
    """
    task_state = instance.task_state
    _end(instance, token, is_accepted)
    if task_state == TASK:
        instance.task_state = None
    books.save(instance, expected_task_state=[task_state])


def _end(instance, token, is_accepted):
    # A nova-api that still waits does not refuse what was accepted.
    if is_accepted:
        note(instance, token, DONE)
        return
    if of(instance).state == CLAIMED and (
            size.charged(instance) != size.largest(
                size.desired(instance), size.boot(instance))):
        # That is still charged. The next look finds the end of it.
        notes.note_left_over(instance, True)
    notes.note_task(instance, None)


def note_end(instance, token: str) -> None:
    """The same, where the caller saves the instance."""
    instance.task_state = None
    note(instance, token, DONE)
