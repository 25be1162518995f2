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

"""The history of the sizes of a server, in its instance actions.

An adjust is an action, with the sizes before and after in its message. A later
change of the charge without a request is an action as well, and so is one by a
resize. Everyone who can see the server can see the messages: they say what was
charged, and since when.
"""

import contextlib
import datetime
import re
import traceback
import typing as ty

from oslo_context import context as oslo_context
from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import instance_actions
from nova.compute import utils as compute_utils
import nova.conf
import nova.context
from nova.db.main import api as db
from nova import exception
from nova import objects
from nova import rpc
from nova.xloud import failures
from nova.xloud import situation
from nova.xloud import size

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

SETTLE = 'compute_settle'
# How the message of the action of a refused request begins, as that of any
# operation of Nova that failed
REFUSED = 'Error'

# With these a request is refused; nothing failed.
_REFUSALS = (exception.Invalid, exception.OverQuota, NotImplementedError,
             exception.InstanceNotFound)
# The column of the message.
_LENGTH = 255
# The sizes whose changes are recorded
_WORDS = ('desired', 'boot', 'charged')
# Such a change in a message: which size, and what it is since then
_CHANGE = re.compile(r'(%s) [^;>]* -> ([^;]+)' % '|'.join(_WORDS))


def changes(before, after) -> str:
    """The sizes that have changed, for people and for bills.

    :param before: and
    :param after: nova.xloud.situation.Sizes, or its desired, boot and charged
        size alone
    """
    return _changes(_by_word(before), _by_word(after))


def _by_word(sizes):
    return {word: str(getattr(sizes, word)) for word in _WORDS}


def _changes(before, after):
    return '; '.join(
        '%s %s -> %s' % (word, before[word], after[word])
        for word in _WORDS if before[word] != after[word])


def start(context, instance) -> None:
    """Begin the action of an adjust, in nova-api.

    It begins now, when the server is taken, and not when the request came. So
    the actions of a server are in the order in which its sizes have changed.
    """
    values = objects.InstanceAction.pack_action_start(
        context, instance.uuid, instance_actions.XLOUD_ADJUST)
    now = timeutils.utcnow()
    db.action_start(context, dict(values, start_time=now, updated_at=now))


def finish(context, instance, message: str) -> None:
    """End the action of an adjust, in nova-api."""
    values = objects.InstanceAction.pack_action_finish(context, instance.uuid)
    with failures.warned(
            LOG, 'The instance action does not record how the change ended: '
            '%s', instance=instance):
        db.action_finish(
            context, dict(values, message=message[:_LENGTH] or None))


@contextlib.contextmanager
def event(context, instance_uuid: str, name: str, host: str):
    """Add a part of an adjust to its action.

    :returns: a list for the details of a success
    """
    details: ty.List[str] = []
    part = _begun(context, name, host)
    try:
        yield details
    except Exception as error:
        part.result, part.details = 'Error', _text(error)
        if not isinstance(error, _REFUSALS):
            part.traceback = traceback.format_exc()
        _add(part, instance_uuid, context.request_id)
        raise
    part.result, part.details = 'Success', ' '.join(details) or None
    _add(part, instance_uuid, context.request_id)


def settled(instance, before, after, when=None) -> None:
    """Record that the sizes of a server have changed without a request.

    :param when: naive UTC, now by default
    """
    _record(instance, changes(before, after), when)


def record_flavor(instance, flavor) -> None:
    """Record what size.change_flavor() is about to do.

    The action of a resize or of its revert names no size.
    """
    if not (size.is_elastic(flavor) or size.is_elastic(instance.flavor)):
        return
    after = instance.obj_clone()
    after.vcpus, after.memory_mb = size.change_flavor(after, flavor)
    # The books are about the new flavor already.
    after.flavor = flavor
    if size.charged(after) != size.charged(instance):
        # Nova did so when the move began, perhaps hours ago.
        close_billing_period(
            instance._context or nova.context.get_admin_context(), instance,
            CONF.host)
    settled(instance, situation.sizes_of(instance), situation.sizes_of(after))


def close_billing_period(context, instance, host: str) -> None:
    """Report what a server was charged until now. The caller changes that.

    :param host: which reports it
    """
    try:
        compute_utils.notify_usage_exists(
            rpc.get_notifier('compute', host), context, instance, host,
            current_period=True)
    except Exception:
        LOG.exception('The notification of the usage so far failed.',
                      instance=instance)


def learn_charge(context, instance) -> None:
    """Have a host report what another has charged a server meanwhile.

    The host that a server has left reports last that it has moved.
    """
    if not size.is_elastic(instance.flavor):
        return
    with failures.warned(
            LOG, 'The notification of a move has what was charged when the '
            'move began: %s', instance=instance):
        charge = size.charged(objects.Instance.get_by_uuid(
            context, instance.uuid, expected_attrs=[]))._asdict()
        for field, value in charge.items():
            setattr(instance, field, value)
        # The other host has saved it.
        instance.obj_reset_changes(charge)


def make_up(instance, request_id, before, after, when) -> None:
    """Record what a request has changed if its action does not say so.

    nova-api writes that, and may have died, or not have waited. Then it has
    said what was there before the end.

    :param when: the change ended, naive UTC
    """
    found = objects.InstanceAction.get_by_request_id(
        nova.context.get_admin_context(), instance.uuid, request_id)
    if found is None:
        LOG.debug('The action of %s is gone.', request_id, instance=instance)
        return
    told = _by_word(before)
    told.update(_CHANGE.findall(found.message or ''))
    _record(instance, _changes(told, _by_word(after)), when)


def _record(instance, text, when=None):
    if not text:
        return
    now = timeutils.utcnow(with_timezone=True)
    when = now if when is None else when.replace(tzinfo=datetime.timezone.utc)
    # The API finds an action by its request id.
    request_id = oslo_context.generate_request_id()
    with failures.warned(
            LOG, 'No instance action records that the sizes have changed '
            '(%s): %s', text, instance=instance):
        objects.InstanceAction(
            instance._context or nova.context.get_admin_context(),
            action=instance_actions.XLOUD_SETTLE,
            instance_uuid=instance.uuid, request_id=request_id,
            project_id=instance.project_id, user_id=None, start_time=when,
            # Who asks for what is new since he asked last has not seen it.
            finish_time=when, updated_at=now, message=text[:_LENGTH]
        ).create()


def tell(instance, host, request_id, refusal=None) -> None:
    """Add to the action of a request what became of it after its answer.

    :param refusal: why the guest does not hold what was asked for, None if
        it does
    """
    part = _begun(nova.context.get_admin_context(), SETTLE, host)
    part.result = 'Success' if refusal is None else 'Error'
    part.details = refusal
    _add(part, instance.uuid, request_id)


def _begun(context, name, host):
    """A part of an action that begins now and says later how it ended."""
    return objects.InstanceActionEvent(
        context, event=name, host=host, traceback=None,
        start_time=timeutils.utcnow(with_timezone=True))


def _add(part, instance_uuid, request_id):
    part.finish_time = timeutils.utcnow(with_timezone=True)
    # The status of the server still shows it.
    with failures.warned(
            LOG, 'The instance action does not record what happened: %s',
            instance_uuid=instance_uuid):
        try:
            part.create(instance_uuid, request_id)
        except exception.InstanceActionNotFound:
            LOG.debug('Its action is gone.', instance_uuid=instance_uuid)


def _text(error):
    if isinstance(error, exception.NovaException):
        return error.format_message()
    if isinstance(error, NotImplementedError):
        return 'Its host cannot change its size.'
    return type(error).__name__
