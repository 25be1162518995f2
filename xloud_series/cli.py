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

"""The command line: parsers, what is printed, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
from pathlib import Path
import sys
import typing as ty

from xloud_series import apply as _apply
from xloud_series import check as _check
from xloud_series import drift as _drift
from xloud_series import errors
from xloud_series import export as _export
from xloud_series import layout
from xloud_series import patches as _patches
from xloud_series import rebase as _rebase
from xloud_series import status as _status
from xloud_series import workspace

MANUAL = """\
XLoud Nova is upstream's pinned release plus a series: new files lie in the
overlay (nova/, doc/, releasenotes/, ...), changes to upstream's files in
patches/*.patch, in the order of patches/series. They are written for the
oldest release; patches/RELEASE/*.patch are overrides for a later one, and for
those after it that have none of their own. An empty one drops the patch.

With --project NAME all of this is about another project than Nova. Its patches
are in NAME/patches/ and its trees are build/NAME-RELEASE; its cache, store and
lock are its own. It has no overlay: new files stay in its patches.

The round trip:
  python3 -m xloud_series apply        make the git tree build/nova-RELEASE
  (edit there, git commit)
  python3 -m xloud_series export       write the commits back to the repository
"""
# More paths than this are counted by folder.
LISTED = 12
CODES = """\
exit codes:
  0  ok
  1  findings: something is not as it should be
  2  usage: unknown release, git too old, no tree yet
  3  stopped on a conflict; rebase --continue, --skip PATCH or --abort
  4  integrity: a hash, a patch or a file is not what it must be; cannot fetch;
     disk full
  5  refused, to protect work that would be lost; or another run is at work
     (with XLOUD_SERIES_WAIT=yes this waits until it ends)
  130  interrupted

In the tree, refs/xloud/base is the base and refs/xloud/applied what the
repository has: `git rebase --interactive` edits the stack. The sdist is
fetched by pip, with its configuration, and kept in build/.cache/sdist; with
that cache nothing needs a network.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog='python3 -m xloud_series', description=MANUAL, epilog=CODES,
        # What is abbreviated today is ambiguous, or another option, tomorrow.
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument('--repo', type=Path, metavar='DIR',
                     default=Path(__file__).resolve().parent.parent,
                     help="the series' repository (default: this one)")
    top.add_argument('--project', metavar='NAME', default=layout.NOVA.name,
                     help='what the series stands on (default: nova)')
    verbs = top.add_subparsers(dest='verb', required=True, metavar='VERB')

    def verb(name: str, module, run) -> argparse.ArgumentParser:
        text = inspect.getdoc(module) or ''
        one = verbs.add_parser(
            name, help=text.split('\n')[0], description=text, epilog=CODES,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        one.set_defaults(run=run)
        one.add_argument('--json', action='store_true',
                         help='print JSON, and only JSON, on stdout')
        return one

    one = verb('apply', _apply, run_apply)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    one.add_argument('--base', metavar='PATH_OR_URL@COMMIT',
                     help='a git commit in place of the pinned release')
    one = verb('export', _export, run_export)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    one.add_argument('--carry', action='append', default=[], metavar='PATH',
                     help='keep this new file in the patch, not the overlay')
    one.add_argument('--check', action='store_true',
                     help='write nothing; exit 1 if it would')
    one.add_argument('--only', action='store_true',
                     help='for this release alone, by overrides')
    one = verb('check', _check, run_check)
    one.add_argument('release', nargs='*', metavar='RELEASE',
                     help='default: all')
    one.add_argument('--accept', action='store_true',
                     help='write tree.txt: what comes out now is right')
    one = verb('drift', _drift, run_drift)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    one.add_argument('--to', required=True, metavar='VERSION',
                     help='a version, or "NAME==VERSION --hash=sha256:HEX"')
    one = verb('rebase', _rebase, run_rebase)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument('--to', metavar='VERSION', help='as for drift')
    what.add_argument('--continue', action='store_true', dest='proceed')
    what.add_argument('--skip', metavar='PATCH',
                      help='go on, and leave this patch out')
    what.add_argument('--abort', action='store_true')
    one.add_argument('--as', metavar='NEW', dest='as_name',
                     help='write a new release folder (default: the same)')
    one = verb('patches', _patches, run_patches)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    one = verb('status', _status, run_status)
    one.add_argument('release', nargs='?', metavar='RELEASE')
    return top


Answer = ty.Tuple[errors.Exit, ty.Any, str]


def run_apply(work, args) -> Answer:
    if args.base:
        got = _rebase.onto_commit(work, work.repo.release(args.release),
                                  args.base)
        return errors.Exit.OK, got, '\n'.join(on_base(got))
    got = _apply.apply(work, work.repo.release(args.release))
    return errors.Exit.OK, got, (
        f'{got["tree"]}: {got["patches"]} patches on {got["base"][:12]}, tip '
        f'{got["tip"]}' + ('' if got['moved'] else ' (no change)'))


def run_export(work, args) -> Answer:
    got = _rebase.exported(work, work.repo.release(args.release),
                           carry=args.carry, check=args.check, only=args.only)
    changed = got['changed']
    code = errors.Exit.FINDINGS if args.check and changed else errors.Exit.OK
    return code, got, '\n'.join(written(got, args.check))


def written(got: ty.Dict, would: bool = False) -> ty.List[str]:
    """A line a file, or of many a line a folder; and how many there are."""
    lines, counts = [], []
    removed = set(got['removed'])
    for word, past, paths in (
            ('write', 'wrote', [p for p in got['changed']
                                if p not in removed]),
            ('remove', 'removed', got['removed'])):
        if not paths:
            continue
        word = f'would {word}' if would else past
        counts.append(f'{word} {count(len(paths), "file")}')
        if len(paths) <= LISTED:
            lines += [f'{word} {path}' for path in paths]
            continue
        folders = [path.rpartition('/')[0] for path in paths]
        for folder in sorted(set(folders)):
            lines.append(f'{word} {count(folders.count(folder), "file")} in '
                         f'{folder}')
    if not counts:
        return ['nothing to write']
    return lines + ['in all: ' + ', '.join(counts) +
                    ('' if would else '; git status shows them')]


def count(number: int, what: str, plural: str = 's') -> str:
    return f'{number} {what}' + ('' if number == 1 else plural)


def run_check(work, args) -> Answer:
    if args.release in ([], ['all']):
        releases = work.repo.releases()
    else:
        releases = [work.repo.release(name) for name in args.release]
    for path in _check.accept(work, releases) if args.accept else ():
        workspace.say(f'wrote {path}')
    found = _check.check(work, releases)
    for problem in found:
        show(problem)
    code = max([p.code for p in found], default=errors.Exit.OK)
    text = f'{len(found)} findings' if found else 'ok'
    return code, {'findings': [p.as_dict() for p in found]}, text


def run_drift(work, args) -> Answer:
    rows, pin = _drift.drift(work, work.repo.release(args.release), args.to)
    hands = len(_drift.work_rows(rows))
    text = '\n'.join([str(row) for row in rows] + [
        f'{len(rows)} rows to {pin.name} {pin.version}: {hands} need hands'])
    return _drift.code(rows), {
        'to': str(pin), 'rows': [row.as_dict() for row in rows]}, text


def run_rebase(work, args) -> Answer:
    if args.proceed:
        got = _rebase.proceed(work, args.release)
    elif args.skip:
        got = _rebase.skip(work, args.release, args.skip)
    elif args.abort:
        got = _rebase.abort(work, args.release)
        return errors.Exit.OK, got, (
            f'{got["tree"]} is at {got["tip"]} again' if got['tree'] else
            f'removed the tree of {got["release"]}')
    else:
        got = _rebase.start(work, work.repo.release(args.release), args.to,
                            args.as_name)
    if 'moved' in got:                    # of apply --base
        return errors.Exit.OK, got, '\n'.join(on_base(got))
    return errors.Exit.OK, got, '\n'.join([
        *written(got), *fates(got), f'{got["tree"]}: tip {got["tip"]}'])


def fates(got: ty.Dict) -> ty.List[str]:
    return [f'{what}: {name}' for what, key in (
        ('resolved by hand', 'resolved'),
        ('dropped, upstream has it', 'dropped'),
        ('left out, as you said', 'skipped')) for name in got.get(key, ())]


def on_base(got: ty.Dict) -> ty.List[str]:
    return [*fates(got), f'{got["tree"]}: the series on {got["base"][:12]}, '
            f'tip {got["tip"]}' + ('' if got['moved'] else ' (no change)')]


def run_patches(work, args) -> Answer:
    got = _patches.write(work, work.repo.release(args.release))
    return errors.Exit.OK, got, (
        f'{got["folder"]}: {count(got["patches"], "complete patch", "es")}')


def run_status(work, args) -> Answer:
    if args.release:
        made = layout.Release(work.repo, args.release)
        releases = [made if made.being_made else
                    work.repo.release(args.release)]
    else:
        releases = work.repo.releases()
    rows = _status.status(work, releases)
    lines = []
    for row in rows:
        lines.append(f'{row["release"]}: {row["patches"]} patches on '
                     f'{row["base"] or "a new base"}; tree: {row["tree"]}')
        lines += [f'    {line}' for line in row['work']]
        if row['next']:
            lines.append(f'    next: {row["next"]}')
    return errors.Exit.OK, rows, '\n'.join(lines)


def show(problem: errors.SeriesError) -> None:
    text = f'error: {problem.text}\n'
    if problem.detail:
        text += ''.join(f'    {line}\n'
                        for line in problem.detail.split('\n'))
    text += ''.join(f'next: {line}\n' for line in problem.next)
    # Bytes: a path or a hunk need not fit the caller's locale.
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        sys.stderr.buffer.write(text.encode('utf-8', 'surrogateescape'))
        sys.stderr.flush()


def answer(text: str) -> ty.Optional[OSError]:
    """Print it; why that was not possible, if somebody should know."""
    try:
        print(text, flush=True)
    except BrokenPipeError:               # `| head` has read enough
        found = None
    except OSError as exc:
        found = exc
    else:
        return None
    # Else Python itself tries once more at its end, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return found


def parse(argv: ty.Optional[ty.Sequence[str]]) -> argparse.Namespace:
    top = parser()
    args = top.parse_args(argv)
    if args.verb == 'rebase' and args.as_name and args.to is None:
        top.error('--as belongs to --to: a rebase that goes on has its name')
    return args


def main(argv: ty.Optional[ty.Sequence[str]] = None) -> int:
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:    # closed, as by >&-
            setattr(sys, name, open(os.devnull, 'w'))
        getattr(sys, name).reconfigure(errors='backslashreplace')
    args = parse(argv)
    failed: ty.List[errors.SeriesError] = []
    try:
        root = args.repo.resolve()
        repo = layout.Repo(root, layout.project(root, args.project))
        with workspace.Workspace(repo) as work:
            code, data, text = args.run(work, args)
    except errors.SeriesErrors as exc:
        failed = exc.problems
        code = exc.code
    except errors.SeriesError as exc:
        failed = [exc]
        code = exc.code
    except OSError as exc:
        where = exc.filename2 or exc.filename or 'a file in build/'
        failed = [errors.integrity(
            f'{os.fsdecode(where)}: {exc.strerror or exc}',
            ('make room or correct its permissions; nothing is lost',
             again(args)))]
        code = errors.Exit.INTEGRITY
    except KeyboardInterrupt:
        show(errors.refused('interrupted; nothing is lost', again(args)))
        return 130
    for problem in failed:
        show(problem)
    if args.json:
        text = json.dumps({'errors': [p.as_dict() for p in failed]} if failed
                          else data, indent=1)
    lost = answer(text) if args.json or not failed else None
    if lost and not failed:
        show(errors.integrity(
            f'what was asked for is done, but its answer could not be '
            f'written: {lost.strerror}', detail=text))
        code = code or errors.Exit.INTEGRITY
    return int(code)


def again(args: argparse.Namespace) -> str:
    project = layout.NOVA
    if args.project != project.name:
        project = layout.Project(args.project)
    return (f'run it again, or go on as "'
            f'{layout.Repo(args.repo, project).command} status" says where a '
            f'rebase is under way')
