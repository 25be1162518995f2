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

"""Pictures of sizes, as SVG in the page.

Numbers are made to text here: a template would write them as the language of
the user does, and 12,5 is no coordinate.
"""

import datetime
import typing as ty

from django.utils import formats
from django.utils.html import format_html
from django.utils.html import format_html_join
from django.utils import timezone
from django.utils.translation import gettext as _

from xloud_dashboard import history
from xloud_dashboard import sizes

_WIDTH = 640
_LEFT = 70
_RIGHT = 15
_SPAN = _WIDTH - _LEFT - _RIGHT

_RANGE = '#d9e4ee'
_ACTUAL = '#2f6f9f'
_CHARGED = '#c85a11'
_FRAME = '#8a8a8a'

_ROW = 62
_CHART = 120
_GAP = 38


def now(dimensions: ty.Sequence[sizes.Dimension]) -> str:
    """A bar for each dimension: its range, what it has and is charged."""
    rows = [_row(dimension, index * _ROW)
            for index, dimension in enumerate(dimensions)]
    words = ' '.join(describe(dimension) for dimension in dimensions)
    return _svg(_('Sizes now'), words, _ROW * len(rows) + 4,
                format_html_join('', '{}', ((row,) for row in rows)))


def describe(dimension: sizes.Dimension) -> str:
    """A sentence that says what a bar shows."""
    return _('%(name)s: %(now)s of %(maximum)s, charged %(charged)s, '
             'minimum %(minimum)s.') % {
        'name': dimension.name, 'now': dimension.now,
        'maximum': dimension.maximum, 'charged': dimension.charged,
        'minimum': dimension.minimum}


def over_time(
    key: str,
    name: str,
    maximum: int,
    charged: ty.Sequence[history.Step],
    desired: ty.Sequence[history.Step],
    until: datetime.datetime,
) -> str:
    """Steps of one dimension: charged as an area, desired as a line."""
    start = min(charged[0].at, desired[0].at, until)
    top = max([maximum] + [getattr(step.size, key)
                           for step in [*charged, *desired]])
    seconds = max((until - start).total_seconds(), 1.0)

    def x(at):
        return _LEFT + _SPAN * min(max(
            (at - start).total_seconds() / seconds, 0), 1)

    def y(size):
        return 18 + _CHART * (1 - getattr(size, key) / max(top, 1))

    bottom = 18 + _CHART
    outline = _corners(charged, x, y, until)
    area = [(_LEFT, bottom), *outline, (_LEFT + _SPAN, bottom)]
    content = format_html(
        '<g aria-hidden="true">'
        '<text x="{left}" y="12" font-weight="bold">{name}</text>'
        '<text x="{edge}" y="22" text-anchor="end">{top}</text>'
        '<text x="{edge}" y="{bottom}" text-anchor="end">0</text>'
        '<rect x="{left}" y="18" width="{span}" height="{chart}" fill="none"'
        ' stroke="{frame}"/>'
        '<polygon points="{area}" fill="{charged}" fill-opacity="0.25"/>'
        '<polyline points="{outline}" fill="none" stroke="{charged}"'
        ' stroke-width="2"/>'
        '<polyline points="{desired}" fill="none" stroke="{actual}"'
        ' stroke-width="2" stroke-dasharray="6 4"/>'
        '<text x="{left}" y="{dates}">{start}</text>'
        '<text x="{right}" y="{dates}" text-anchor="end">{until}</text>'
        '</g>',
        left=_LEFT, edge=_LEFT - 6, name=name, top=str(top), bottom=bottom,
        span=_SPAN, chart=_CHART, frame=_FRAME, charged=_CHARGED,
        actual=_ACTUAL, area=_points(area), outline=_points(outline),
        desired=_points(_corners(desired, x, y, until)),
        right=_LEFT + _SPAN, dates=bottom + 16, start=_date(start),
        until=_date(until))
    title = _('%s over time') % name
    return _svg(title, _(
        'Charged from %(start)s until now: at first %(first)s, now %(last)s. '
        'The table below has each change.') % {
            'start': _date(start), 'first': getattr(charged[0].size, key),
            'last': getattr(charged[-1].size, key)},
        bottom + _GAP - 16, content)


def _row(dimension, top):
    # Nothing, if nobody knows what there is
    actual = dimension.actual or 0
    maximum = max(dimension.maximum, actual, dimension.charged, 1)

    def width(size):
        return '%.1f' % (_SPAN * size / maximum)

    def at(size):
        return '%.1f' % (_LEFT + _SPAN * size / maximum)

    return format_html(
        '<g aria-hidden="true">'
        '<text x="{left}" y="{text}" font-weight="bold">{name}</text>'
        '<text x="{right}" y="{text}" text-anchor="end">{numbers}</text>'
        '<rect x="{left}" y="{bar}" width="{span}" height="16" fill="{range}"'
        ' stroke="{frame}"/>'
        '<rect x="{left}" y="{bar}" width="{current}" height="16"'
        ' fill="{actual}"/>'
        '<line x1="{charged}" x2="{charged}" y1="{over}" y2="{under}"'
        ' stroke="{orange}" stroke-width="3"/>'
        '<line x1="{minimum}" x2="{minimum}" y1="{bar}" y2="{under}"'
        ' stroke="{frame}" stroke-width="1" stroke-dasharray="2 2"/>'
        '<text x="{left}" y="{below}">0</text>'
        '<text x="{minimum}" y="{below}" text-anchor="middle">{least}</text>'
        '<text x="{right}" y="{below}" text-anchor="end">{most}</text>'
        '</g>',
        left=_LEFT, right=_LEFT + _SPAN, span=_SPAN, name=dimension.name,
        numbers=_('%(now)s now, %(charged)s charged') % {
            'now': dimension.now, 'charged': dimension.charged},
        text=top + 12, bar=top + 20, over=top + 16, under=top + 40,
        below=top + 52, range=_RANGE, frame=_FRAME, actual=_ACTUAL,
        orange=_CHARGED, current=width(actual),
        charged=at(dimension.charged), minimum=at(dimension.minimum),
        least=str(dimension.minimum) if dimension.is_elastic else '',
        most=str(dimension.maximum))


def _corners(steps, x, y, until):
    points = []
    for step in steps:
        if points:
            points.append((x(step.at), points[-1][1]))
        points.append((x(step.at), y(step.size)))
    points.append((x(until), points[-1][1]))
    return points


def _points(points):
    return ' '.join('%.1f,%.1f' % point for point in points)


def _date(at):
    return formats.date_format(timezone.localtime(at),
                               'SHORT_DATETIME_FORMAT')


def _svg(title, description, height, content):
    return format_html(
        '<svg role="img" aria-label="{title}. {description}"'
        ' viewBox="0 0 {width} {height}" width="100%"'
        ' style="max-width: {width}px" font-size="12" fill="currentColor"'
        ' xmlns="http://www.w3.org/2000/svg">'
        '<title>{title}</title><desc>{description}</desc>{content}</svg>',
        title=title, description=description, width=_WIDTH, height=height,
        content=content)
