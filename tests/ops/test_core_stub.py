"""The stub _core.pyi says what the compiled module has, and the face lists what it offers."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import recsys_core
from recsys_core import _core, ops

STUB = Path(recsys_core.__file__).with_name("_core.pyi")


def stub_functions() -> dict[str, list[str]]:
    """Parameter names of every function and method of the stub."""
    found: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
                names = [argument.arg for argument in node.args.args]
                if node.args.kwonlyargs:
                    names += ["*", *(argument.arg for argument in node.args.kwonlyargs)]
                found[prefix + node.name] = ["<property>"] if is_property else [n for n in names if n != "self"]

    visit(ast.parse(STUB.read_text()).body, "")
    return found


def compiled_functions() -> dict[str, list[str]]:
    """The same of the compiled module, from the signatures that pybind11 writes into docstrings."""
    found: dict[str, list[str]] = {}

    def parameters(doc: str) -> list[str]:
        signature = doc.splitlines()[0]
        inside = signature[signature.index("(") + 1 : signature.rindex(")")]
        depth_zero = re.sub(r"\[[^\[\]]*\]", "", inside)
        while depth_zero != (depth_zero := re.sub(r"\[[^\[\]]*\]", "", depth_zero)):
            pass
        names = [part.split(":")[0].strip() for part in depth_zero.split(",") if part.strip()]
        return [name for name in names if name != "self"]

    for name, value in vars(_core).items():
        if name.startswith("__"):
            continue
        if inspect.isclass(value):
            for member, attribute in vars(value).items():
                method = attribute.__func__ if isinstance(attribute, staticmethod) else attribute
                if isinstance(method, property):
                    found[f"{name}.{member}"] = ["<property>"]
                elif member == "__init__" or (callable(method) and not member.startswith("_")):
                    found[f"{name}.{member}"] = parameters(method.__doc__)
        elif callable(value):
            found[name] = parameters(value.__doc__)
    return found


def test_the_stub_has_every_function_with_its_parameters() -> None:
    assert stub_functions() == compiled_functions()


def test_the_face_offers_what_it_lists() -> None:
    assert len(ops.__all__) == len(set(ops.__all__))
    for name in ops.__all__:
        assert inspect.getdoc(getattr(ops, name)), f"{name} has no docstring"
