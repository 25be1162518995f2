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
"""Which class and function a line of a Python file stands in."""

from __future__ import annotations

import ast
import typing as ty
import warnings

from xloud_series import patchfile

NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def parse(text: str) -> ty.Optional[ast.Module]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def at(module: ty.Optional[ast.Module], line: int) -> str:
    """Class.function around a line, counted from 1."""
    names: ty.List[str] = []
    node: ty.Any = module
    while node is not None:
        inner = next((child for child in ast.walk(node)
                      if child is not node and isinstance(child, NAMED) and
                      first(child) <= line <= child.end_lineno), None)
        if inner is not None:
            names.append(inner.name)
        node = inner
    return '.'.join(names)


def first(node: ty.Any) -> int:
    return min([node.lineno] + [d.lineno for d in node.decorator_list])


def of_hunk(old: ty.Optional[ast.Module], new: ty.Optional[ast.Module],
            hunk: patchfile.Hunk) -> str:
    """The scope of the first line with text that it adds, else removes."""
    for sign, module, line in (('+', new, hunk.new_at), ('-', old,
                                                        hunk.old_at)):
        for text in hunk.lines:
            if text[0] == sign and text[1:].strip():
                return at(module, line + 1)
            line += text[0] in (' ', sign)
    return ''
