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

"""What the templates of this package need."""

from django import template

register = template.Library()


@register.filter
def plain(number):
    """A number as digits: a language may write 4096 as 4.096."""
    return '' if number is None else str(number)


@register.filter
def field_of(form, key):
    """The field of a form, None if it has none of that name."""
    return form[key] if key in form.fields else None
