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

"""Replay the stack of a release on another upstream release.

Each commit is cherry-picked onto the new base, in the tree of the new
release. At a conflict it stops (exit 3) and shows the hunk: edit the file,
`git add` it, and `rebase --continue`. `rebase --abort` puts everything back
as it was, to the exact commit ids. The branch moves and files are written
only at the very end. No patch is left out unless upstream has all of it, or
`rebase --skip PATCH` says so. What was resolved is kept by Change-Id, and
offered where the same patch stops again.

Where an export stops as it brings a change to another release, the same verbs
go on: --continue commits what was resolved and runs the export again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
import shutil
import tempfile
import typing as ty

from xloud_series import carry
from xloud_series import conflicts
from xloud_series import errors
from xloud_series import export
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import message
from xloud_series import otherbase
from xloud_series import patchfile
from xloud_series import scratch
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import tree as _tree
from xloud_series import upstream
from xloud_series import workspace

ONTO = 'refs/xloud/rebase-onto'
FROM = 'refs/xloud/rebase-from'
OLD = 'refs/xloud/rebase-old'      # the base that FROM stands on
OFFER = 'refs/xloud/rebase-offer'  # how the patch was resolved before
ANSWER = 'refs/xloud/rebase-answer'  # and how it is resolved now
SERIES = 'refs/xloud/series'       # apply --base: what was put on it
# An sdist has it as setuptools writes it: with tabs for the blanks of git's.
REWRITTEN = 'setup.cfg'
RESOLVED = 'refs/resolved'         # in the store: by Change-Id, by base
PICK = 'refs/xloud/rebase-pick'


@dataclasses.dataclass
class State:
    release: str                # whose stack is replayed
    pin: str
    onto: str
    todo: ty.List[ty.List[str]]   # patch name, commit
    created: bool               # this rebase made the tree
    current: ty.Optional[ty.List[str]] = None
    parent: str = ''            # where HEAD was before the current pick
    files: ty.List[str] = dataclasses.field(default_factory=list)
    every: ty.List[ty.List[str]] = dataclasses.field(default_factory=list)
    dropped: ty.List[str] = dataclasses.field(default_factory=list)
    skipped: ty.List[str] = dataclasses.field(default_factory=list)
    series: bool = True         # write it; else only the tree is wanted
    resolved: ty.List[str] = dataclasses.field(default_factory=list)
    # Of an export that stopped here: how it was called, and the ref in the
    # store for what is resolved.
    export: ty.Optional[ty.Dict] = None
    slot: str = ''
    # And those of the stops before, which go with it if it is given up.
    slots: ty.List[str] = dataclasses.field(default_factory=list)
    # Where this tool moves the tree to, until it is there.
    moving: str = ''
    # What git has made without a conflict, for a person to look at.
    made: str = ''

    @classmethod
    def load(cls, tree: _tree.Tree) -> State:
        return cls(**json.loads(tree.rebase_state.read_text()))

    def save(self, tree: _tree.Tree) -> None:
        fresh = tree.rebase_state.with_suffix('.new')
        fresh.write_text(json.dumps(dataclasses.asdict(self), indent=1))
        fresh.replace(tree.rebase_state)


def start(work: workspace.Workspace, release: layout.Release, to: str,
          as_name: ty.Optional[str]) -> ty.Dict:
    new = layout.Release(work.repo, as_name or release.name)
    tree = work.tree(new)
    if tree.exists:
        tree.protect('rebase works in that tree')
    if new.name != release.name and work.files.get(new.outcome):
        raise errors.refused(
            f'{new.folder} is there already: rebase would overwrite it',
            f'{work.repo.command} rebase {new.name} --to {to}')
    stack = work.build(release)
    if new.name == release.name and tree.exists and tree.head != stack.tip:
        raise errors.refused(
            f'{new.shown} is not what the repository has now',
            f'{work.repo.command} apply {new.name}')
    pin = upstream.find_pin(work.repo, upstream.pin_of(release).name, to)
    if work.files.get(new.upstream) and new.name != release.name:
        pinned = upstream.pin_of(new)
        if pinned.version != pin.version:
            raise errors.refused(
                f'{new.upstream} pins {pinned.version}, not {pin.version}',
                f'{work.repo.command} rebase {release.name} --to '
                f'{pinned.version} --as {new.name}')
    onto, pin = upstream.base(work.store, work.repo, pin, workspace.say)
    return begin(work, tree, State(release.name, str(pin), onto, [], False),
                 stack)


def onto_commit(work: workspace.Workspace, release: layout.Release,
                spec: str) -> ty.Dict:
    """The series on another base, in a tree of its own; nothing is written
    to the repository.
    """
    new = release.on_base
    tree = work.tree(new)
    if tree.exists:
        tree.protect('apply --base works in that tree')
    onto, commit = otherbase.base(work, release, spec)
    stack = work.build(release)
    if tree.exists and (tree.git.resolve(_tree.BASE) == onto and
                        tree.git.resolve(SERIES) == stack.tip):
        return {'release': new.name, 'tree': new.shown, 'tip': tree.head,
                'base': commit, 'moved': False}
    return begin(work, tree, State(release.name, f'{commit} of git', onto, [],
                                   False, series=False), stack)


def begin(work: workspace.Workspace, tree: _tree.Tree, state: State,
          stack: _stack.Stack) -> ty.Dict:
    new, onto = tree.release, state.onto
    created = not tree.exists
    if created:
        workspace.say(f'making {new.shown}')
        tree = _tree.create(new, work.store, onto, onto)
    tree.take(work.store, {ONTO: onto, FROM: stack.tip, OLD: stack.base})
    state.every = [[step.name, step.commit] for step in stack.steps]
    state.todo = state.every[:]
    state.created = created
    detach(tree, state, onto)
    return carry_on(work, tree, state)


def detach(tree: _tree.Tree, state: State, commit: str) -> None:
    """The branch stays where it is until all is well.

    If git cannot move the tree, it is as before, and no rebase is under way.
    """
    state.moving = commit
    state.save(tree)
    tree.restore_generated()
    result = tree.git.run(
        'checkout', '--quiet', '--detach', '--no-overwrite-ignore',
        '--no-recurse-submodules', commit)
    if result.code:
        error = tree.not_moved(ty.cast(str, tree.head), result.err.strip())
        move_back(tree, commit)
        if not state.created:
            end(tree)
        tree.prepare()
        raise error
    tree.prepare()
    state.moving = ''
    state.save(tree)


def move_back(tree: _tree.Tree, commit: str) -> None:
    """Take away what is in the tree of a move to `commit` that ended half way.

    Only that: all else that differs from HEAD is somebody's work.
    """
    git = tree.git
    head, back = ty.cast(str, tree.head), []
    for change in git.changed(commit, head, '--no-renames'):
        path = tree.path / change.path
        if not git.resolve(f'{commit}:{change.path}'):
            if not os.path.lexists(path):
                back.append(change.path)
        elif os.path.lexists(path) and git.line(
                'hash-object', '--no-filters', '--', change.path) == (
                    git.resolve(f'{commit}:{change.path}')):
            if git.resolve(f'{head}:{change.path}'):
                back.append(change.path)
            else:
                path.unlink()
    if back:
        git.out('checkout-index', '--quiet', '--force', '--', *back)


def exported(work: workspace.Workspace, release: layout.Release,
             slots: ty.Sequence[str] = (), **how: ty.Any) -> ty.Dict:
    """An export, which may stop where a change does not fit.

    :param slots: what was resolved for it, at stops before
    """
    try:
        return export.export(work, release, **how)
    except carry.Stopped as stopped:
        raise stop(work, release, how, stopped, slots)


def stop(work: workspace.Workspace, source: layout.Release, how: ty.Dict,
         at: carry.Stopped, slots: ty.Sequence[str]) -> errors.SeriesError:
    """In the tree of the release that the change does not fit."""
    tree = work.tree(at.release)
    if tree.exists:
        tree.protect(f'the change of {source.name} has to be brought there')
    else:
        tree = _tree.create(at.release, work.store, at.old.base, at.old.tip)
    current = [at.step.name, at.step.commit]
    forget(tree)                          # of one that was killed at its end
    tree.take(work.store, {ONTO: at.old.base, OLD: at.new.base,
                           FROM: at.step.commit,
                           **{f'{PICK}-{number}': commit for number, commit in
                              enumerate((at.parent, *at.picks))}})
    state = State(source.name, f'the change of {source.name}', at.old.base, [],
                  False, current, at.parent, every=[current], export=how,
                  slot=at.slot,
                  slots=sorted({*slots, *work.answers}))
    detach(tree, state, at.parent)
    git = tree.git
    *before, last = at.picks
    if not any(scratch.cherry_pick(git, commit).code for commit in before) \
            and scratch.cherry_pick(git, last).code:
        # One commit is to come of them.
        git.out('update-ref', '--no-deref', 'HEAD', at.parent)
    else:                                 # not even as it was: as it is now
        _again(git, state)
        scratch.cherry_pick(git, at.step.commit)
    state.files = unmerged(git)
    if state.files:
        state.save(tree)
        offer(work, tree, state)
        return conflict(tree, state)
    # Without a conflict, but the form that this release had is lost in it.
    state.files = [diff.path for diff in at.step.patch.files]
    state.made = ty.cast(str, tree.head)
    state.save(tree)
    shown = tree.release.shown
    name, command = at.release.name, work.repo.command
    if before:
        text = (f'{at.step.name} has its own form on {name}, which the change '
                f'does not fit; now it is there as on {source.name}')
        refs = ' '.join(f'{PICK}-{number + 1}' for number, _ in
                        enumerate(before))
        forms = [f'this was its form: git -C {shown} show {refs}']
    else:
        text = (f'{at.step.name} has something in it that {name} is without; '
                f'now it is there as on {source.name}')
        forms = []
    return errors.SeriesError(
        errors.Exit.CONFLICT, text,
        (f'look at it: git -C {shown} show', *forms,
         f'edit it, and git -C {shown} commit --all --amend',
         f'{command} rebase --continue {name}',
         f'or leave it out of {name}: {command} rebase --skip '
         f'{at.step.name} {name}',
         f'or give up: {command} rebase --abort {name}'))


def exported_again(work: workspace.Workspace, tree: _tree.Tree,
                   state: State) -> ty.Dict:
    leave(tree)
    return exported(work, work.repo.release(state.release),
                    [*state.slots, state.slot], **ty.cast(dict, state.export))


def leave(tree: _tree.Tree) -> None:
    """Back to the branch, which has not moved."""
    tree.git.out('cherry-pick', '--quit')
    tree.restore_generated()
    # --force: the half-made resolution is what is to go.
    tree.git.out('checkout', '--quiet', '--force', '--no-recurse-submodules',
                 tree.release.branch[len('refs/heads/'):])
    end(tree)
    tree.prepare()


def find(work: workspace.Workspace,
         name: ty.Optional[str]) -> ty.Tuple[_tree.Tree, State]:
    trees = [tree for tree in (
        _tree.Tree(layout.Release(work.repo, one))
        for one in work.repo.trees())
        if tree.rebase_state.exists()]
    found = [tree for tree in trees
             if name in (None, tree.release.name, State.load(tree).release)]
    if len(found) != 1:
        names = ', '.join(tree.release.name for tree in trees)
        raise errors.usage(
            f'which rebase? under way are: {names}' if found else
            f'no rebase is under way{" for " + name if name else ""}',
            f'{work.repo.command} rebase RELEASE --to VERSION'
            if not found else ())
    return found[0], State.load(found[0])


def proceed(work: workspace.Workspace, name: ty.Optional[str]) -> ty.Dict:
    tree, state = find(work, name)
    if state.moving:
        move_again(tree, state)
    stays(tree, state)
    if state.current:
        resolved(work, tree, state)
    dirty = [line for line in tree.dirty() if not line.startswith('??')]
    if dirty:
        raise errors.refused(
            f'{tree.release.shown}: uncommitted work in the middle of a '
            f'rebase',
            f'git -C {tree.release.shown} commit -a --amend, and rebase '
            f'--continue', '\n'.join(dirty))
    if state.export is not None:
        return exported_again(work, tree, state)
    return carry_on(work, tree, state)


def move_again(tree: _tree.Tree, state: State) -> None:
    """Where this was killed, or the disk was full, as it moved the tree."""
    move_back(tree, state.moving)
    shown, command = tree.release.shown, tree.release.repo.command
    dirty = tree.dirty()
    if dirty or tree.on_branch and tree.unexported():
        raise errors.refused(
            f'{shown}: somebody has worked there since the rebase was '
            f'interrupted',
            f'give the rebase up, which keeps that: {command} rebase --abort '
            f'{tree.release.name}', '\n'.join(dirty or tree.unexported()))
    detach(tree, state, state.moving)


def stays(tree: _tree.Tree, state: State) -> None:
    """Refuse to go on anywhere but on top of the new base, on no branch."""
    if not (state.series or state.current or state.todo):
        return                            # its end is only done once more
    is_above = tree.git.ok('merge-base', '--is-ancestor', state.onto, 'HEAD')
    if is_above and not tree.git.ok('symbolic-ref', '--quiet', 'HEAD'):
        return
    way = '--detach' if is_above and not tree.on_branch else '-'
    raise errors.refused(
        f'{tree.release.shown}: HEAD is no longer where this rebase works',
        (f'git -C {tree.release.shown} checkout {way}, and rebase --continue '
         f'{tree.release.name}',
         f'or give up: {tree.release.repo.command} rebase --abort '
         f'{tree.release.name}'))


def skip(work: workspace.Workspace, name: ty.Optional[str],
         patch: str) -> ty.Dict:
    """Leave a patch out, because a person says so; then go on."""
    tree, state = find(work, name)
    if state.moving:
        raise errors.refused(
            f'{tree.release.shown}: the rebase was interrupted',
            f'{work.repo.command} rebase --continue {tree.release.name}')
    stays(tree, state)
    known = [one for one, _ in state.every]
    patch = patch if patch in known else f'{patch}.patch'
    there = present(tree, state)
    if state.export is not None and [patch] == known:
        work.store.out('update-ref', state.slot, state.parent)
        return exported_again(work, tree, state)
    if patch not in known:
        raise errors.usage(f'{patch} is no patch of {state.release}', next=(
            f'at work is {state.current[0]}',) if state.current else ())
    if patch in there:
        raise errors.usage(
            f'{patch} is in {tree.release.shown} already',
            f'take it out there: git -C {tree.release.shown} rebase -i '
            f'{ONTO}, and rebase --skip {patch} again')
    if state.current and state.current[0] == patch:
        tree.git.out('cherry-pick', '--quit')
        tree.git.out('reset', '--quiet', '--hard', state.parent)
        state.current, state.files = None, []
    state.todo = [one for one in state.todo if one[0] != patch]
    state.skipped.append(patch)
    state.save(tree)
    return proceed(work, name)


def present(tree: _tree.Tree, state: State) -> ty.Set[str]:
    """The patches that have a commit in the tree, by Change-Id."""
    have = {commit.key for commit in _split.commits(
        tree.git, state.onto, 'HEAD')}
    keys = {commit.id: commit.key for commit in _split.commits(
        tree.git, OLD, FROM)}
    return {name for name, commit in state.every if keys[commit] in have}


def resolved(work: workspace.Workspace, tree: _tree.Tree,
             state: State) -> None:
    """Commit what the developer resolved, or see that they did."""
    name, commit = ty.cast(ty.List[str], state.current)
    git = tree.git
    if git.fields('ls-files', '--unmerged', '-z'):
        raise conflict(tree, state)
    if not state.files:
        interrupted(tree, state)
        return
    for path in state.files:
        if marked(tree, path):
            raise errors.SeriesError(
                errors.Exit.CONFLICT,
                f'{tree.release.shown}/{path} still has conflict markers',
                f'edit it, git -C {tree.release.shown} add {path}, and '
                f'rebase --continue')
    if tree.head == state.parent:         # not committed by hand
        index = [line for line in tree.dirty() if line[1] not in ' ?']
        if index:
            raise errors.SeriesError(
                errors.Exit.CONFLICT,
                f'{tree.release.shown}: changes that are not staged',
                f'git -C {tree.release.shown} add -u, and rebase --continue',
                '\n'.join(index))
        new = git.line('write-tree')
        if new == git.resolve('HEAD^{tree}'):
            raise gone(tree, [[name, commit]])
        git.out('update-ref', '-m', 'xloud_series: rebase', 'HEAD',
                recommit(git, commit, new, state.parent))
    if name not in present(tree, state):
        raise gone(tree, [[name, commit]])
    # It forgets CHERRY_PICK_HEAD, with which nobody could amend, and touches
    # no file.
    git.out('cherry-pick', '--quit')
    shown = tree.release.shown
    compiles(work, tree, state.parent, ty.cast(str, tree.head),
             f'edit it, git -C {shown} commit --all --amend --no-edit, and '
             f'rebase --continue {tree.release.name}')
    keep(work, tree, state, commit)
    state.resolved.append(name)
    state.current, state.files = None, []
    state.save(tree)


def gone(tree: _tree.Tree,
         patches: ty.Sequence[ty.Sequence[str]]) -> errors.SeriesError:
    """After git cherry-pick --skip or --abort, git reset, or an edit that
    left nothing: git cannot say whether that was meant.
    """
    shown, release = tree.release.shown, tree.release.name
    command = tree.release.repo.command
    return errors.SeriesError(
        errors.Exit.CONFLICT,
        f'{shown} has nothing of {", ".join(name for name, _ in patches)}',
        [line for name, commit in patches for line in (
            f'pick it again: git -C {shown} cherry-pick {commit[:12]}, and '
            f'rebase --continue',
            f'or leave it out of {release}: {command} rebase --skip '
            f'{name} {release}')])


def keep(work: workspace.Workspace, tree: _tree.Tree, state: State,
         commit: str) -> None:
    """In the store, which outlives an abort: to be offered, and for the
    export that stopped here.
    """
    git = tree.git
    old = _split.commits(git, f'{commit}^', commit)[-1]
    # One commit, in however many it was resolved.
    git.out('update-ref', ANSWER, recommit(
        git, commit, ty.cast(str, git.resolve('HEAD^{tree}')), state.parent))
    refs = [f'{RESOLVED}/{_ref(old)}/{state.onto}', state.slot]
    work.store.fetch(tree.path, *(f'+{ANSWER}:{ref}' for ref in refs if ref))
    git.out('update-ref', '-d', ANSWER)


def _ref(commit: _split.Commit) -> str:
    return patchfile.slug(commit.key)


def offer(work: workspace.Workspace, tree: _tree.Tree, state: State) -> None:
    """Leave in OFFER what was resolved before, if that fits here.

    Only offered: whether it is right here as well, a person says. It is tried
    aside, as a person may be at work in the tree by then.
    """
    git = tree.git
    git.run('update-ref', '-d', OFFER)
    name, commit = ty.cast(ty.List[str], state.current)
    old = _split.commits(git, f'{commit}^', commit)[-1]
    answers = work.store.out(
        'for-each-ref', '--sort=-committerdate', '--format=%(objectname)',
        f'{RESOLVED}/{_ref(old)}/').decode().split()
    if not answers:
        return
    work.store.fetch(tree.path, f'+HEAD:refs/offers/{state.parent}')
    with tempfile.TemporaryDirectory(dir=work.repo.scratch) as folder:
        aside = scratch.Scratch(work.store, Path(folder), state.parent).git
        before = aside.resolve('HEAD^{tree}')
        for answer in answers:
            fits = not scratch.cherry_pick(aside, answer).code
            if fits and aside.resolve('HEAD^{tree}') != before:
                tree.take(work.store, {OFFER: answer})
                return
            _again(aside, state)


def _again(git: _git.Git, state: State) -> None:
    git.out('cherry-pick', '--quit')
    git.out('reset', '--quiet', '--hard', state.parent)


def interrupted(tree: _tree.Tree, state: State) -> None:
    """Killed in the middle of a pick, not stopped by a conflict."""
    current = ty.cast(ty.List[str], state.current)
    if tree.head == state.parent:
        if any(not line.startswith('??') for line in tree.dirty()):
            raise errors.refused(
                f'{tree.release.shown}: {current[0]} was interrupted half way',
                f'git -C {tree.release.shown} reset --hard, and rebase '
                f'--continue: it is picked again')
        state.todo.insert(0, current)
    else:
        drop_if_empty(tree, state)
    tree.git.out('cherry-pick', '--quit')
    state.current = None
    state.save(tree)


def drop_if_empty(tree: _tree.Tree, state: State) -> None:
    if tree.git.resolve('HEAD^{tree}') == tree.git.resolve(
            f'{state.parent}^{{tree}}'):
        tree.git.out('update-ref', 'HEAD', state.parent)
        drop(state, ty.cast(ty.List[str], state.current)[0])


def recommit(git: _git.Git, commit: str, tree: str, parent: str) -> str:
    """The same author and message on another tree and parent."""
    old = _split.commits(git, f'{commit}^', commit)[-1]
    return _stack.commit(git, patchfile.Patch(
        old.author, old.mail, old.date, *message.tidy(old.message), (), ()),
        tree, parent)


def drop(state: State, name: str) -> None:
    workspace.say(f'dropped {name}: nothing of it is left, upstream has it')
    state.dropped.append(name)


def carry_on(work: workspace.Workspace, tree: _tree.Tree,
             state: State) -> ty.Dict:
    total = len(state.todo)
    while state.todo:
        state.current = state.todo.pop(0)
        state.parent = ty.cast(str, tree.head)
        state.save(tree)
        name, commit = state.current
        workspace.say(f'picking {total - len(state.todo)}/{total} {name}')
        result = scratch.cherry_pick(tree.git, commit)
        state.files = unmerged(tree.git) if result.code else []
        if state.files == [REWRITTEN] and not state.series:
            _again(tree.git, state)
            result = scratch.cherry_pick(tree.git, commit,
                                         '--strategy-option',
                                         'ignore-space-change')
            state.files = unmerged(tree.git) if result.code else []
        if result.code:
            state.save(tree)
            if not state.files:
                raise _git.GitError(tree.git, ['cherry-pick'], result)
            offer(work, tree, state)
            raise conflict(tree, state)
        drop_if_empty(tree, state)
        state.current = None
        state.save(tree)
    return finish(work, tree, state)


def unmerged(git: _git.Git) -> ty.List[str]:
    return sorted({entry.partition('\t')[2] for entry in
                   git.fields('ls-files', '--unmerged', '-z')})


def finish(work: workspace.Workspace, tree: _tree.Tree,
           state: State) -> ty.Dict:
    release = tree.release
    if state.series:
        refuse_old(work, tree, state)
    there = present(tree, state)
    lost = [one for one in state.every if one[0] not in
            there.union(state.dropped, state.skipped)]
    if lost:
        raise gone(tree, lost)
    if not state.series:
        return settle(work, tree, state)
    tree.give(work.store)
    head = ty.cast(str, tree.head)
    pin = upstream.parse(state.pin, 'the rebase')
    changes, tip = export.plan(
        work, release, state.onto, head,
        like=layout.Release(work.repo, state.release),
        extra={release.upstream: layout.File(pinned(work, release, pin))})
    export.write(work, release, changes, state.onto, head, tip)
    forget(tree)
    if not work.files.get(f'{release.folder}/constraints.txt') or (
            release.upstream in changes):
        workspace.say(f'note: {release.folder}/constraints.txt has to be '
                      f'resolved for {pin.name} {pin.version}')
    return {'release': release.name, 'tree': release.shown, 'tip': tip,
            'base': state.onto, **fates(state), **export.changed(changes)}


def refuse_old(work: workspace.Workspace, tree: _tree.Tree,
               state: State) -> None:
    """Somebody has changed the series since: what is in the tree is older."""
    source = layout.Release(work.repo, state.release)
    if work.build(source).tip == tree.git.resolve(FROM):
        return
    command, name = work.repo.command, tree.release.name
    raise errors.refused(
        f'the series of {source.name} has changed since this rebase began: '
        f'to go on would write its old text',
        (f'begin again: {command} rebase --abort {name}, and rebase as '
         f'before; what you have resolved is offered',
         'or put the change aside until this has ended: git stash'))


def settle(work: workspace.Workspace, tree: _tree.Tree,
           state: State) -> ty.Dict:
    """The tree is all that is wanted. Its ids follow from base and series."""
    git, tip = tree.git, state.onto
    for commit in _split.commits(git, state.onto, 'HEAD'):
        tip = recommit(git, commit.id, commit.tree, tip)
    compiles(work, tree, state.onto, tip,
             f'edit and commit it there, and rebase --continue '
             f'{tree.release.name}')
    git.out('update-ref', SERIES, FROM)
    git.out('update-ref', '-m', 'xloud_series: apply --base',
            tree.release.branch, tip)
    git.out('symbolic-ref', 'HEAD', tree.release.branch)
    tree.settle(state.onto, tip)
    end(tree)
    return {'release': tree.release.name, 'tree': tree.release.shown,
            'tip': tip, 'base': state.pin.split()[0], 'moved': True,
            **fates(state), 'changed': [], 'removed': []}


def compiles(work: workspace.Workspace, tree: _tree.Tree, base: str,
             tip: str, advice: str) -> None:
    good = _stack.Compiled(work.repo)
    with _git.Reader(tree.git) as reader:
        for change in tree.git.changed(base, tip, '--no-renames'):
            if change.path.endswith('.py') and change.mode.startswith('100'):
                error = good.judge(change.blob, change.path,
                                   reader.read(change.blob) or b'')
                if error:
                    raise errors.integrity(
                        f'{tree.release.shown}/{change.path} does not '
                        f'compile: {error}', advice)
    good.save()


def fates(state: State) -> ty.Dict:
    return {'dropped': state.dropped, 'skipped': state.skipped,
            'resolved': state.resolved}


def end(tree: _tree.Tree) -> None:
    # In this order: what is under way needs its refs.
    tree.rebase_state.unlink()
    forget(tree)


def forget(tree: _tree.Tree) -> None:
    picks = tree.git.line('for-each-ref', '--format=%(refname)', f'{PICK}-*')
    for ref in (ONTO, FROM, OLD, OFFER, *picks.split()):
        tree.git.run('update-ref', '-d', ref)


def pinned(work: workspace.Workspace, release: layout.Release,
           pin: upstream.Pin) -> bytes:
    """upstream.txt with the new pin; its comments stay."""
    old = work.files.get(release.upstream)
    lines = old.data.decode().splitlines() if old else []
    kept = [line for line in lines if line.lstrip().startswith('#')]
    return ''.join(f'{line}\n' for line in kept + [str(pin)]).encode()


def abort(work: workspace.Workspace, name: ty.Optional[str]) -> ty.Dict:
    tree, state = find(work, name)
    release = tree.release
    for slot in filter(None, [*state.slots, state.slot]):
        # An export takes from there what a person has decided.
        work.store.run('update-ref', '-d', slot)
    state.slot = ''
    if state.moving:
        move_back(tree, state.moving)
        if tree.on_branch and not state.created:
            end(tree)
            tree.prepare()
            return {'release': release.name, 'tree': release.shown,
                    'tip': tree.head}
        dirty = tree.dirty()
        if dirty:
            raise errors.refused(
                f'{release.shown}: uncommitted work would be lost',
                f'save it: git -C {release.shown} stash --include-untracked, '
                f'and rebase --abort', '\n'.join(dirty))
    elif state.current and state.files and tree.head != state.made:
        try:                              # to offer it, if it is resolved
            stays(tree, state)
            resolved(work, tree, state)
        except errors.SeriesError:
            pass
    if state.created:
        stray = [line for line in tree.dirty() if line.startswith('??')]
        if stray:
            raise errors.refused(
                f'{release.shown}: files that git does not know would go '
                f'with the tree', f'move them out of {release.shown}',
                '\n'.join(stray))
        own = own_commits(tree, state)
        if own:
            raise errors.refused(
                f'{release.shown}: commits that are nowhere else would go '
                f'with the tree',
                (f'keep: mv {release.shown} elsewhere, which ends this rebase',
                 f'drop: rm -rf {release.shown}'), '\n'.join(own))
        gone = release.tree.with_name(f'.{release.tree.name}.gone')
        shutil.rmtree(gone, ignore_errors=True)
        release.tree.rename(gone)
        shutil.rmtree(gone)
        return {'release': release.name, 'tree': None}
    leave(tree)
    return {'release': release.name, 'tree': release.shown, 'tip': tree.head}


def own_commits(tree: _tree.Tree, state: State) -> ty.List[str]:
    """What a person committed or stashed there beside the series."""
    series = {commit.key for commit in _split.commits(tree.git, OLD, FROM)}
    on_top = [f'{commit.id[:10]} {commit.message.partition(chr(10))[0]}'
              for commit in _split.commits(tree.git, state.onto, 'HEAD')
              if commit.key not in series]
    return on_top + tree.git.out(
        'log', '--oneline', '--no-decorate', '--no-show-signature',
        '--exclude=refs/xloud/*', '--all', '--not', 'HEAD', state.onto,
        FROM).decode('utf-8', 'replace').splitlines()


def marked(tree: _tree.Tree, path: str) -> ty.List[conflicts.Region]:
    """The conflicts in a file of the tree."""
    try:
        text = patchfile.decode((tree.path / path).read_bytes())
    except OSError:
        return []
    return conflicts.regions(text)


def conflict(tree: _tree.Tree, state: State) -> errors.SeriesError:
    name, commit = ty.cast(ty.List[str], state.current)
    shown, command = tree.release.shown, tree.release.repo.command
    stages: ty.Dict[str, ty.Set[str]] = {}
    for entry in tree.git.fields('ls-files', '--unmerged', '-z'):
        meta, _, path = entry.partition('\t')
        stages.setdefault(path, set()).add(meta[-1])
    detail, places = [], []
    for path, sides in stages.items():
        if sides == {'1', '3'}:
            detail.append(f'{path}: upstream deleted it; find where its code '
                          f'went, then git -C {shown} rm {path}')
            places.append(path)
        elif '1' not in sides:
            detail.append(f'{path}: upstream has a file at this path now')
            places.append(path)
        else:
            for line, text in describe(tree, state, commit, path):
                places.append(f'{path}:{line}')
                detail.append(f'{path}:{line}\n{text}')
    return errors.SeriesError(
        errors.Exit.CONFLICT,
        f'{name} conflicts at {", ".join(places) or ", ".join(stages)}',
        (f'edit in {shown} (between <<<<<<< and ||||||| is the new upstream, '
         f'between ======= and >>>>>>> the patch)',
         f'git -C {shown} add {" ".join(stages)}',
         f'{command} rebase --continue {tree.release.name}',
         *([f'or take what was resolved before (git -C {shown} show '
            f'{OFFER}): git -C {shown} reset --quiet --hard && git -C {shown} '
            f'cherry-pick {OFFER}, and rebase --continue']
           if tree.git.resolve(OFFER) else []),
         f'or leave this patch out of {tree.release.name}: {command} rebase '
         f'--skip {name} {tree.release.name}',
         f'or give up: {command} rebase --abort '
         f'{tree.release.name}'),
        '\n\n'.join(detail))


def describe(tree: _tree.Tree, state: State, commit: str,
             path: str) -> ty.Iterator[ty.Tuple[int, str]]:
    """Each conflict of a file: our hunks, and upstream's change there.

    Not what is between the markers: of a block that upstream indented anew
    that is all of it, three times.
    """
    found = marked(tree, path)
    diff = patchfile.parse_diff(patchfile.decode(tree.git.out(
        'diff-tree', *_split.DIFF, f'{commit}^', commit, '--', path)))
    hunks = [hunk for one in diff for hunk in one.hunks]
    old, new = (patchfile.decode(tree.git.run(
        'cat-file', 'blob', f'{side}:{path}').out)
        for side in (f'{commit}^', commit))
    for region, mine in zip(found, conflicts.match(found, hunks, old, new)):
        yield region.line, '\n'.join([
            'the patch:', *(hunk.text for hunk in mine),
            'upstream, there:', *(conflicts.upstream(region) or [
                '(its change is outside of these lines)']),
            f'all of upstream: git -C {tree.release.shown} diff {OLD} {ONTO} '
            f'-- {path}'])
