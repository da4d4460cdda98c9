"""A YAML document that somebody else's tool wrote, as nodes that know their lines and say what is wrong with them.

The nodes are built from libyaml's events: its composer recurses in C and a few thousand brackets crash the process.
It is no slower than `yaml.load`. Every scalar stays text: a version that nobody quoted must not become a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE = re.compile("[0-9]{1,18}")
_MAX_DEPTH = 32  # locks need eight; libyaml takes ever longer for each level
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


class NodeError(Exception):
    """What is wrong with a document, in which line (1-based) if one is to blame, and what to do if that is known."""

    def __init__(self, message: str, line: int | None, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.hint = hint


@dataclass(slots=True)
class Node:
    """A value of a document, and the line (1-based) where it starts. Its methods raise NodeError for other shapes."""

    value: str | dict[str, Node] | list[Node] | None
    line: int

    def fault(self, message: str, hint: str = "") -> NodeError:
        """Return the error that points here."""
        return NodeError(message, self.line, hint)

    def mapping(self) -> dict[str, Node]:
        """Return what the keys of this mapping lead to; nothing for null."""
        if isinstance(self.value, dict):
            return self.value
        if self.value is None:
            return {}
        raise self.fault("a mapping should stand here")

    def find(self, key: str) -> Node | None:
        """Return what a key of this mapping leads to, None where it is missing or null."""
        node = self.mapping().get(key)
        return None if node is None or node.value is None else node

    def items(self, key: str) -> list[Node]:
        """Return the items of a list; a list that is missing is empty."""
        node = self.find(key)
        if node is None:
            return []
        if isinstance(node.value, list):
            return node.value
        raise node.fault(f"`{key}` should be a list")

    def text(self, key: str) -> str:
        """Return a text, an empty one where it is missing."""
        node = self.find(key)
        return "" if node is None else node.scalar(key)

    def need(self, key: str) -> str:
        """Return a text that has to be there."""
        text = self.text(key)
        if not text:
            raise self.fault(f"`{key}` is missing")
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the texts of a list; a list that is missing is empty."""
        return tuple(item.scalar(key) for item in self.items(key))

    def whole(self, key: str) -> int | None:
        """Return a whole number that is not negative, None where it is missing."""
        node = self.find(key)
        if node is None:
            return None
        text = node.scalar(key)
        if not _WHOLE.fullmatch(text):
            raise node.fault(f"`{key}` should be a whole number")
        return int(text)

    def scalar(self, name: str) -> str:
        """Return this text; `name` says what it is."""
        if isinstance(self.value, str):
            return self.value
        raise self.fault(f"`{name}` should be a text")


def parse_nodes(text: bytes) -> Node:
    """Return the one document of a YAML text. Raises NodeError for anything else."""
    try:
        return _build(yaml.parse(text, Loader=yaml.CBaseLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise NodeError(f"no YAML: {error.problem}", line) from error
    except yaml.YAMLError as error:
        raise NodeError("no YAML", None) from error


def _build(events: Iterator[yaml.Event]) -> Node:
    documents = Node([], 1)
    parents = [documents]
    keys: list[str | None] = [None]  # of each parent, the key whose value comes next
    anchors: dict[str, Node] = {}
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            parents.pop()
            keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = _make_node(event, anchors)
            keys[-1] = _add(parents[-1], keys[-1], node)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(parents) > _MAX_DEPTH:
                    raise node.fault("lists or mappings are nested too deep")
                parents.append(node)
                keys.append(None)
    if not isinstance(documents.value, list) or len(documents.value) != 1:
        raise NodeError("one YAML document should stand here", None)
    return documents.value[0]


def _make_node(event: yaml.NodeEvent, anchors: dict[str, Node]) -> Node:
    line = event.start_mark.line + 1 if event.start_mark else 1
    match event:
        case yaml.ScalarEvent():
            node = Node(None if event.implicit[0] and event.value in _NULL else event.value, line)
        case yaml.MappingStartEvent():
            node = Node({}, line)
        case yaml.SequenceStartEvent():
            node = Node([], line)
        case _ if event.anchor in anchors:
            return anchors[event.anchor]
        case _:
            raise NodeError(f"the anchor `{event.anchor}` is not defined", line)
    if event.anchor:
        anchors[event.anchor] = node
    return node


def _add(parent: Node, key: str | None, node: Node) -> str | None:
    """Add a node to its parent; return the key whose value comes next."""
    if isinstance(parent.value, list):
        parent.value.append(node)
    elif isinstance(parent.value, dict):
        if key is None:
            name = node.scalar("a key")
            if name == "<<":
                raise node.fault("YAML's merge key `<<` is not read: no tool writes it into a lock")
            return name
        if key in parent.value:
            raise node.fault(f"`{key}` is given twice")
        parent.value[key] = node
    return None
