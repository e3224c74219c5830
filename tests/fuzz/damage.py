"""What damage does to a valid input: bits flipped, bytes cut and doubled, values swapped, files gone or elsewhere."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np

ODD_NUMBERS = (
    0,
    -1,
    1,
    2,
    1 << 31,
    1 << 63,
    -(1 << 64),
    10**40,
    0.0,
    -0.0,
    1e-320,
    1e308,
    0.5,
    *map(float, ("nan", "inf", "-inf")),
)
ODD_WORDS = ("", " ", "\x00", "é" * 3, "\u202etxt", "../outside/x", "/", ".", "a" * 300, "\x1b[31m", "w", "float32",
             "*", "[", "-", "nan", "default", "1e999", "0x1p-3", "user.x", "\ud7ff", "\U0001f600")  # fmt: skip


def odd_value(random):
    """A value of any kind: numbers, words, empty and nested ones."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(ODD_NUMBERS)
    if kind < 5:
        return random.choice(ODD_WORDS)
    nested = 1
    for _ in range(random.choice((1, 3, 60))):
        nested = [nested] if random.random() < 0.5 else {"a": nested}
    return random.choice(([], {}, True, False, [1, "a"], {"kind": "bell"}, nested))


def damaged_bytes(random, content):
    """Content with one to three of its bytes changed, cut, doubled or replaced."""
    content = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        length = len(content)
        at = random.randrange(length + 1)
        until = min(length, at + random.choice((1, 1, 4, 64, length + 1)))
        match random.randrange(9):
            case 0 | 1 | 2 if length:
                content[min(at, length - 1)] ^= 1 << random.randrange(8)
            case 3:
                del content[at:]
            case 4:
                del content[at:until]
            case 5:
                content[at:at] = content[at:until]
            case 6:
                content[at:at] = random.choice(
                    (b"\x00" * 9, b"\xff\xfe", b"[" * 3000, b'"', b"\n", b"9" * 40, b"-1", b"NaN")
                )
            case 7:
                content[at:until] = b"\x00" * (until - at)
            case _:
                content[at:until] = random.randbytes(min(until - at, 64))
    return bytes(content)


def places_of(value, path=()):
    """Every place of a tree of dicts and lists, the root left out."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in below:
        yield (*path, key)
        yield from places_of(one, (*path, key))


def damaged_tree(random, tree, odd=odd_value):
    """A tree with one to three of its values swapped, gone, renamed, doubled, or taken from elsewhere in it."""
    tree = json.loads(json.dumps(tree))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(places_of(tree))
        if not places:
            break
        *path, last = random.choice(places)
        holder = tree
        for key in path:
            holder = holder[key]
        match random.randrange(7):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[random.choice((*ODD_WORDS, last + "s"))] = holder.pop(last)
            case 2 if isinstance(holder, list):
                holder.append(holder[last])
            case 3:
                other = tree
                for key in random.choice(places):
                    if not isinstance(other, dict | list) or (
                        key not in other if isinstance(other, dict) else key >= len(other)
                    ):
                        break
                    other = other[key]
                holder[last] = json.loads(json.dumps(other))
            case _:
                holder[last] = odd(random)
    return tree


class Damaged:
    """A folder or file, damaged while the context lasts, and as it was after it. whole: bytes by relative path."""

    def __init__(self, root, whole):
        self.root, self.whole = root, whole

    def restore(self):
        """What it was."""
        if self.root.is_symlink() or self.root.is_file():
            self.root.unlink()
        elif self.root.is_dir():
            shutil.rmtree(self.root)
        for name, content in self.whole.items():
            path = self.root / name if name else self.root
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def damage(self, random, outside):
        """Damage one file of it; what was done, in a few words. outside: a folder that nobody may write to."""
        name = random.choice(sorted(self.whole))
        path = self.root / name if name else self.root
        match random.randrange(20):
            case 0:
                path.unlink()
                return f"{name}: gone"
            case 1:
                path.unlink()
                path.mkdir()
                return f"{name}: a folder"
            case 2:
                path.unlink()
                target = random.choice((outside / "kept", outside / "nothing", outside, path))
                path.symlink_to(target)
                return f"{name}: a link to {target}"
            case 3:
                other = self.root / random.choice(sorted(self.whole))
                path.write_bytes(self.whole[os.path.relpath(other, self.root) if other != self.root / "" else ""])
                return f"{name}: as {other.name}"
            case 4:
                path.write_bytes(b"")
                return f"{name}: empty"
            case 5 | 6 if name.endswith(".npy"):
                path.write_bytes(array_file(random))
                return f"{name}: another array"
            case 7 | 8 | 9 | 10 | 11 if name.endswith((".json", ".jsonl")):
                path.write_bytes(damaged_json(random, self.whole[name], by_line=name.endswith("l")))
                return f"{name}: other JSON"
        path.write_bytes(damaged_bytes(random, self.whole[name]))
        return f"{name}: other bytes"


def damaged_json(random, content, seal=None, *, by_line=False):
    """A JSON document, or one line of a file of them, with other values. seal: makes it fit again."""
    lines = content.split(b"\n") if by_line else [content]
    filled = [place for place, line in enumerate(lines) if line.strip()]
    place = random.choice(filled)
    told = damaged_tree(random, json.loads(lines[place]))
    if seal is not None and isinstance(told, dict) and random.random() < 0.9:
        told = seal(told)
    lines[place] = json.dumps(told, sort_keys=True, indent=None if by_line else 1).encode()
    return b"\n".join(lines) + (b"" if by_line else b"\n")


def array_file(random):
    """The header of an array that nobody could hold, or of another kind, with little behind it."""
    shape = random.choice(((1 << 40,), (1 << 62, 8), (0,), (), (3, 4), (-1, 4), (2,) * 40))
    kind = random.choice(("<u4", "|O", "<f8", "<u2", "|V7", "<U9", "<M8[ns]"))
    header = f"{{'descr': {kind!r}, 'fortran_order': {random.random() < 0.5}, 'shape': {shape!r}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header + random.randbytes(64)
