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

"""The sizes of the server over time."""

import math
from pathlib import Path
import typing as ty

SIZES = ('desired', 'charged', 'actual', 'guest')
_STYLES = {
    'desired': {'color': '#d55e00', 'linestyle': '--', 'linewidth': 1.4},
    'charged': {'color': '#999999', 'linewidth': 7, 'alpha': 0.45},
    'actual': {'color': '#0072b2', 'linewidth': 3, 'alpha': 0.7},
    'guest': {'color': '#000000', 'linewidth': 1.2},
}
_LABELS = {'desired': 'desired', 'charged': 'charged',
           'actual': 'actual (hypervisor)', 'guest': 'seen in the guest'}
_UNITS = ('vCPUs', 'MiB')


class Sample(ty.NamedTuple):
    """All sizes, [vCPUs, MiB] or None, at a time in seconds."""

    seconds: float
    sizes: ty.Mapping[str, ty.Optional[ty.Sequence[ty.Optional[int]]]]


def curves(samples: ty.Sequence[Sample], place: int
           ) -> ty.Dict[str, ty.List[float]]:
    """One list for each size, with gaps where it was not known.

    :param place: 0 for vCPUs, 1 for MiB
    """
    return {name: [_number(sample.sizes[name], place) for sample in samples]
            for name in SIZES}


def _number(size, place):
    return math.nan if size is None or size[place] is None else size[place]


def draw(samples: ty.Sequence[Sample],
         steps: ty.Sequence[ty.Tuple[float, str]],
         folder: Path) -> ty.List[Path]:
    """Write the picture as PNG and SVG.

    :param steps: when each began, in seconds, and its name
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    from matplotlib import ticker

    matplotlib.rcParams.update({
        'svg.hashsalt': 'xloud', 'svg.fonttype': 'none', 'font.size': 9,
        'axes.spines.top': False, 'axes.spines.right': False,
        'axes.grid': True, 'axes.grid.axis': 'y', 'grid.alpha': 0.3,
        'legend.frameon': False})
    times = [sample.seconds for sample in samples]
    figure, panels = pyplot.subplots(
        2, 1, figsize=(9, 5), sharex=True, layout='constrained')
    for place, (panel, unit) in enumerate(zip(panels, _UNITS)):
        for name, numbers in curves(samples, place).items():
            panel.plot(times, numbers, drawstyle='steps-post',
                       label=_LABELS[name], **_STYLES[name])
        panel.set_ylabel(unit)
        panel.set_ylim(bottom=0)
        for begun, name in steps:
            panel.axvline(begun, color='#bbbbbb', linewidth=0.8,
                          linestyle=':')
            if place == 0:
                panel.annotate(
                    name, (begun, 1), xytext=(0, 3), rotation=45,
                    xycoords=('data', 'axes fraction'),
                    textcoords='offset points', color='#777777')
    panels[0].yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panels[1].yaxis.set_major_locator(ticker.MultipleLocator(256))
    panels[1].set_xlabel('seconds')
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=len(SIZES),
                  loc='outside upper center')
    written = []
    for suffix, metadata in (('png', {'Software': None}),
                             ('svg', {'Date': None, 'Creator': None})):
        path = folder / f'demo-sizes.{suffix}'
        figure.savefig(path, metadata=metadata, dpi=110)
        written.append(path)
    pyplot.close(figure)
    return written
