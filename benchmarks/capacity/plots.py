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

"""The study's two figures. Everything but this module runs without matplotlib.

The same results give the same files: no dates, no random identifiers.
"""

from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib import ticker

from benchmarks.capacity import study

COLOURS = {'fixed': '#777777', 'elastic vCPUs': '#e69f00',
           'elastic': '#0072b2'}
SCENARIOS = {'own hours': ('#009e73', 'o', 'peaks at own hours'),
             'same hour': ('#0072b2', 's', 'peaks at the same hour'),
             'cold memory back': ('#d55e00', '^',
                                  'same hour, cold memory back')}


def write(results, directory):
    """Write both figures as SVG and PNG; return the paths."""
    matplotlib.use('Agg')
    matplotlib.rcParams.update({
        'svg.hashsalt': 'xloud', 'svg.fonttype': 'none', 'font.size': 9,
        'axes.spines.top': False, 'axes.spines.right': False,
        'axes.grid': True, 'axes.grid.axis': 'y', 'grid.alpha': 0.3,
        'axes.axisbelow': True, 'legend.frameon': False})
    written = []
    for name, draw in (('capacity-density', density),
                       ('capacity-risk', risk)):
        figure = draw(results)
        for suffix, metadata in (('svg', {'Date': None, 'Creator': None}),
                                 ('png', {'Software': None})):
            path = Path(directory, f'{name}.{suffix}')
            figure.savefig(path, metadata=metadata, dpi=90)
            written.append(path)
        pyplot.close(figure)
    return written


def density(results):
    """How many servers a host carries, at each pair of ratios."""
    figure, panels = pyplot.subplots(
        1, len(study.CPU_RATIOS), figsize=(9, 3.4), sharey=True,
        layout='constrained')
    for panel, cpu_ratio in zip(panels, study.CPU_RATIOS):
        for place, (policy, colour) in enumerate(COLOURS.items()):
            _bars(panel, place, len(COLOURS), policy, colour, [
                _find(results, 'ratios', policy, cpu_ratio, ram_ratio,
                      1.0, 'same hour')['times_the_reference']
                for ram_ratio in study.RAM_RATIOS])
        panel.set_xticks(range(len(study.RAM_RATIOS)), study.RAM_RATIOS)
        panel.set_title(f'cpu_allocation_ratio {cpu_ratio}', fontsize=9)
        panel.set_xlabel('ram_allocation_ratio')
    panels[0].set_ylabel('servers of a full host,\n'
                         'fixed size at 1.0 / 1.0 = 1')
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=3,
                  loc='outside upper center')
    return figure


def risk(results):
    """What that costs: refusals, too little, too much, and a bad hour."""
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 7),
                                     layout='constrained')
    _refused(panels[0][0], results)
    _room(panels[0][1], results)
    _too_much(panels[1][0], results)
    _surge(panels[1][1], results)
    for panel in panels.flat:
        if panel.get_yscale() == 'linear':
            panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, 0))
            panel.set_ylim(0, 1.05)
    return figure


def _refused(panel, results):
    shades = {'memory': ('#b3d4e8', '#5aa5d2', '#0072b2'),
              'vcpu': ('#f5cfa6', '#e89c4a', '#d55e00')}
    for number, (dimension, colours) in enumerate(shades.items()):
        for place, cpu_ratio in enumerate(study.CPU_RATIOS):
            _bars(panel, 3 * number + place, 6,
                  f'{"vCPUs" if number else "memory"}, cpu {cpu_ratio}',
                  colours[place], [
                      _find(results, 'ratios', 'elastic', cpu_ratio,
                            ram_ratio, 1.0, 'same hour')[
                                f'{dimension}_grows_refused']
                      for ram_ratio in study.RAM_RATIOS])
    panel.set_xticks(range(len(study.RAM_RATIOS)), study.RAM_RATIOS)
    panel.set_xlabel('ram_allocation_ratio')
    panel.set_title('Grows refused, of those asked for, on full hosts\n'
                    '(elastic, same hour)', fontsize=9)
    panel.legend(ncols=2, loc='upper left', fontsize=8)


def _room(panel, results):
    for name, (colour, marker, label) in SCENARIOS.items():
        found = [_find(results, 'room', 'elastic', study.NOVA_CPU_RATIO,
                       study.NOVA_RAM_RATIO, fill, name)
                 for fill in study.FILLS]
        across = [one['times_the_reference']['mean'] for one in found]
        up = [one['memory_grows_refused'] for one in found]
        panel.errorbar(across, [one['mean'] for one in up], _reach(up),
                       color=colour, marker=marker, markersize=4,
                       capsize=2, linewidth=1, label=label)
        if name == 'own hours':
            for x, one, fill in zip(across, up, study.FILLS):
                panel.annotate(f'{fill:.0%}', (x, one['mean']), fontsize=7,
                               xytext=(-4, 4), textcoords='offset points',
                               ha='right')
    panel.set_yscale('symlog', linthresh=0.01)
    panel.set_ylim(0, 1)
    panel.set_yticks((0, 0.01, 0.1, 1))
    panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, 0))
    panel.set_xlabel('servers of a host, fixed size at 1.0 / 1.0 = 1')
    panel.set_title('Memory grows refused, by how full a host may be\n'
                    f'of new servers (cpu {study.NOVA_CPU_RATIO}, '
                    f'ram {study.NOVA_RAM_RATIO})', fontsize=9)
    panel.legend(loc='lower right', fontsize=8)


def _too_much(panel, results):
    for place, (policy, colour) in enumerate(COLOURS.items()):
        _bars(panel, place, len(COLOURS), policy, colour, [
            _find(results, 'ratios', policy, study.NOVA_CPU_RATIO, ram_ratio,
                  1.0, 'same hour')['used_over_memory']
            for ram_ratio in study.RAM_RATIOS])
    panel.set_xticks(range(len(study.RAM_RATIOS)), study.RAM_RATIOS)
    panel.set_xlabel('ram_allocation_ratio')
    panel.set_title('Host-hours in which guests use more memory\n'
                    'than the host has (same hour)', fontsize=9)
    panel.legend()


def _surge(panel, results):
    found = [one for one in results if one['part'] == 'surge']
    for place, (measure, label, colour) in enumerate((
            ('used_over_memory', 'host-hours: more memory in use than there '
             'is', '#d55e00'),
            ('below_memory', 'server-hours: less memory than needed',
             '#56b4e9'))):
        _bars(panel, place, 2, label, colour,
              [one[measure] for one in found])
    panel.set_xticks(range(len(found)), [
        f'{one["policy"]}\nram {one["ram_ratio"]}' + (
            f'\n{one["fill"]:.0%} full' if one['fill'] < 1 else '')
        for one in found], fontsize=8)
    panel.set_title('Two hours in which every server needs 80 %\n'
                    'of its flavor', fontsize=9)
    panel.legend(fontsize=8, loc='upper left', bbox_to_anchor=(0, -0.22))


def _bars(panel, place, places, label, colour, measured):
    width = 0.8 / places
    panel.bar([x + (place - (places - 1) / 2) * width
               for x in range(len(measured))],
              [one['mean'] for one in measured], width * 0.92,
              yerr=_reach(measured), color=colour, label=label,
              error_kw={'elinewidth': 0.8, 'capsize': 2})


def _reach(measured):
    """From the mean down to the least and up to the greatest seed."""
    return [[max(0, one['mean'] - one['min']) for one in measured],
            [max(0, one['max'] - one['mean']) for one in measured]]


def _find(results, *wanted):
    for one in results:
        if wanted == tuple(one[field] for field in (
                'part', 'policy', 'cpu_ratio', 'ram_ratio', 'fill',
                'scenario')):
            return one
    raise KeyError(wanted)
