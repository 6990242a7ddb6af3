"""The statements of SQL that the package's source has, by the names that they have there."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

import prover_framework

PACKAGE = Path(prover_framework.__file__).parent

VERB = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s")

# The engines' own statements: how a database is opened, locked, measured or given another form.
ENGINES = "database"


@frozen
class WrittenStatement:
    """A statement as it is written; what is put into it later may be anything.

    Args:
        name: Module and constant, or module and function that it stands in.
        pieces: The texts between what is put in.
    """

    name: str
    pieces: Sequence[str]

    def is_in(self, said: str) -> bool:
        """Return whether it is this one that is said, or a part of that; spaces are alike."""
        place = 0
        for piece in self.pieces:
            place = said.find(piece, place)
            if place < 0:
                return False
            place += len(piece)
        return True


def one_line(text: str) -> str:
    """Return a text with one space wherever it has some, or lines end."""
    return " ".join(text.split())


def written_statements() -> Mapping[str, WrittenStatement]:
    """Return the statements of all modules, save those of the engines."""
    found: dict[str, WrittenStatement] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for name, text in _texts(ast.parse(path.read_text()), ".".join(parts)):
            if VERB.match(text) and parts[0] != ENGINES:
                while name in found:
                    name += "'"
                pieces = re.split(r"\{\w*\}", text.replace("{{", "{").replace("}}", "}"))
                found[name] = WrittenStatement(name, [*map(one_line, pieces)])
    return found


def _texts(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            name = f"{name}.{node.name}"
        case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)):
            name = f"{name}.{target}"
        case ast.Constant(value=str(text)):
            yield name, text
        case ast.JoinedStr():
            yield name, "".join(map(_shown, node.values))
            return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, name)


def _shown(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
