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

"""What became of an adjust after its answer, told in its instance action.

The events of an instance action end with the request. A guest may take its
time or refuse, so that one more event tells what became of it.
"""

from oslo_log import log as logging

import nova.context
from nova import exception
from nova import objects

LOG = logging.getLogger(__name__)

EVENT = 'compute_settle'


def tell(instance, host, request_id, refusal=None) -> None:
    """Add to the action of a request what became of it.

    :param refusal: why the guest does not hold what was asked for, None if
        it does
    """
    context = nova.context.get_admin_context()
    # By this an event finds its action.
    context.request_id = request_id
    event = objects.InstanceActionEvent
    try:
        event.event_start(context, instance.uuid, EVENT, want_result=False,
                          host=host)
        if refusal is None:
            event.event_finish(context, instance.uuid, EVENT,
                               want_result=False)
        else:
            # A failure is known by its traceback, and there is none.
            event.event_finish_with_failure(
                context, instance.uuid, EVENT, exc_val=refusal, exc_tb='',
                want_result=False)
    except exception.InstanceActionNotFound:
        LOG.debug('Its action is gone.', instance=instance)
    except Exception as error:
        # The status of the server tells it all the same.
        LOG.warning('The instance action does not tell how the change ended: '
                    '%s', error, instance=instance)
