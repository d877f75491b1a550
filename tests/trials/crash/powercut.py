"""What a disk may hold after a power cut, from a recorded trace of system calls.

The model promises no more than POSIX does: bytes are there once their file was synced, names once their folder was.
Of what was not synced any part may be there: each 4 KiB block of each write, each change of a name, in any order.
A rename is one change: afterwards the new name is there and the old one is not, or neither has happened.
"""

import os
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Op:
    """One recorded call."""

    name: str
    path: str
    other: str
    offset: int
    data: bytes


def read_trace(path: Path) -> list[Op]:
    """The calls in the order they were made."""
    ops: list[Op] = []
    with path.open("rb") as stream:
        while line := stream.readline():
            name, one, other, offset, size = line.decode().rstrip("\n").split("\t")
            ops.append(Op(name, one, other, int(offset), stream.read(int(size))))
    return ops


@dataclass(slots=True)
class Node:
    """A file, a folder or a link: what is durable, and what was written since it was last synced."""

    kind: str
    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)


Change = tuple[str, str, str]
"""What happens to a name: the operation, the name, and the other name of a rename or link."""


@dataclass(slots=True)
class Disk:
    """Names and what they stand for: as every process sees them, and as they are known to be on the disk."""

    root: str
    seen: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    pending: list[tuple[Change, Node]] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path) -> "Disk":
        """A disk on which everything below `root` is durable."""
        disk = cls(str(root))
        disk.seen[str(root)] = Node("folder")
        for path in root.rglob("*"):
            if path.is_symlink():
                node = Node("link", durable=str(path.readlink()).encode())
            elif path.is_dir():
                node = Node("folder")
            else:
                node = Node("file", bytearray(path.read_bytes()), path.read_bytes())
            disk.seen[str(path)] = node
        disk.durable = dict(disk.seen)
        return disk

    def copy(self) -> "Disk":
        """Another one, to be cut elsewhere."""
        return deepcopy(self)

    def play(self, ops: list[Op]) -> list[str]:
        """Do what was recorded; returns what was said on the way."""
        said: list[str] = []
        for op in ops:
            if op.name == "mark":
                said.append(op.path)
            elif op.name == "write":
                self._write(op)
            elif op.name == "truncate":
                if node := self.seen.get(op.path):
                    del node.now[op.offset :]
                    node.now.extend(bytes(op.offset - len(node.now)))
                    node.pending.append((-1 - op.offset, b""))
            elif op.name == "fsync":
                self._sync(op.path)
            elif op.name not in ("chmod", "failed"):
                self._rename(op)
        return said

    def _write(self, op: Op) -> None:
        if (node := self.seen.get(op.path)) is None:
            return  # of a file that has no name any more
        node.now.extend(bytes(max(0, op.offset - len(node.now))))
        node.now[op.offset : op.offset + len(op.data)] = op.data
        node.pending.append((op.offset, op.data))

    def _sync(self, path: str) -> None:
        if (node := self.seen.get(path)) is None:
            return
        if node.kind != "folder":
            node.durable, node.pending = bytes(node.now), []
            return
        rest = []
        for (name, one, other), target in self.pending:
            if path in (os.path.dirname(one), os.path.dirname(other or one)):  # noqa: PTH120  # names, many of them
                _apply(self.durable, (name, one, other), target)
            else:
                rest.append(((name, one, other), target))
        self.pending = rest

    def _rename(self, op: Op) -> None:
        if op.name == "create":
            node = Node("file")
        elif op.name == "mkdir":
            node = Node("folder")
        elif op.name == "symlink":
            node = Node("link", durable=op.path.encode())
        else:
            node = self.seen[op.path]
        change = (op.name, op.other if op.name == "symlink" else op.path, "" if op.name == "symlink" else op.other)
        _apply(self.seen, change, node)
        self.pending.append((change, node))

    def cut(self, random: Random) -> None:
        """Cut the power: of what is not durable any part may be there, in any order."""
        chance = random.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        some = [change for change in self.pending if random.random() < chance]
        if random.random() < 0.5:
            random.shuffle(some)
        for change, node in some:
            _apply(self.durable, change, node)
        for node in {id(n): n for n in self.durable.values()}.values():
            _tear(node, random)
        self.pending = []

    def write(self, root: Path) -> None:
        """As a real folder; what is below a folder that was lost is lost too."""
        root.mkdir(mode=0o700)
        links: dict[int, Path] = {}
        for name in sorted(self.durable, key=lambda n: n.count("/")):
            path, node = root / os.path.relpath(name, self.root), self.durable[name]
            if name == self.root or not path.parent.is_dir():
                continue
            if node.kind == "folder":
                path.mkdir(mode=0o700)
            elif node.kind == "link":
                path.symlink_to(node.durable.decode())
            elif id(node) in links:
                path.hardlink_to(links[id(node)])
            else:
                path.write_bytes(node.durable)
                path.chmod(0o600)
                links[id(node)] = path


def _apply(names: dict[str, Node], change: Change, node: Node) -> None:
    name, one, other = change
    if name in ("unlink", "rmdir"):
        if names.get(one) is node:
            del names[one]
    elif name in ("rename", "link"):
        names[other] = node
        if name == "rename" and names.get(one) is node:
            del names[one]
    else:
        names[one] = node


def _tear(node: Node, random: Random) -> None:
    """Any blocks of what was written since the last sync."""
    data = bytearray(node.durable)
    if node.kind == "file" and node.pending:
        chance = random.choice((0.0, 0.5, 0.9, 1.0))
        for offset, written in node.pending:
            if offset < 0:
                if random.random() < chance:
                    size = -1 - offset
                    del data[size:]
                    data.extend(bytes(size - len(data)))
                continue
            at = 0
            while at < len(written):
                size = min(BLOCK - (offset + at) % BLOCK, len(written) - at)
                if random.random() < chance:
                    data.extend(bytes(max(0, offset + at - len(data))))
                    data[offset + at : offset + at + size] = written[at : at + size]
                at += size
        node.durable, node.pending = bytes(data), []
        node.now = data
