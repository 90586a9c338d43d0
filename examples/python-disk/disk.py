"""Reports how much a granted folder holds, and fails when that is over a limit.

Settings: `folder`, where it is (`/data` if it is not set), and `limit`, like `500MB` or `2GiB` (none if it is not set).

The bytes are those of the files, not of the disk's blocks, which WASI does not tell.
"""

import os
import re
from typing import Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import store
from wit_world.imports.types import Failure, Tick

FOLDER = "/data"
SHOWN = 5
UNITS = {"": 1, "B": 1}
UNITS |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Guest(exports.Guest):
    def run(self, tick: Tick) -> Optional[str]:
        """Called for each tick: returns a summary, or raises a failure."""
        folder = store.get("folder") or FOLDER
        limit = store.get("limit")
        try:
            limit_bytes = read_size(limit) if limit else None
            parts, files, unread = measure(folder)
        except (ValueError, OSError) as error:
            # The same settings and grants come with every tick, so trying again is of no use.
            raise Err(Failure(message=str(error), permanent=True, retry_after_ms=None))

        for name, size in sorted(parts.items(), key=lambda part: -part[1])[:SHOWN]:
            print(f"{show_size(size):>10} {name}")
        for path in unread[:SHOWN]:
            print(f"not read: {path}")

        total = sum(parts.values())
        summary = f"{show_size(total)} in {files} files of {folder}"
        if limit_bytes is not None and total > limit_bytes:
            raise Err(Failure(message=f"{summary}, over the limit of {limit}", permanent=False, retry_after_ms=None))
        return summary


def measure(folder: str) -> tuple[dict[str, int], int, list[str]]:
    """The bytes of each entry of the folder with all below it, how many files there are, and what could not be read."""
    parts: dict[str, int] = {}
    linked: set[tuple[int, int]] = set()
    files = 0
    unread: list[str] = []
    # The folder itself must be there; one below it may go at any time.
    os.listdir(folder)
    for path, _, names in os.walk(folder, onerror=lambda error: unread.append(str(error.filename))):
        for name in names:
            try:
                found = os.lstat(os.path.join(path, name))
            except OSError:
                unread.append(os.path.join(path, name))
                continue
            # A file with several names is there once.
            if found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in linked:
                    continue
                linked.add((found.st_dev, found.st_ino))
            files += 1
            part = os.path.relpath(os.path.join(path, name), folder).split(os.sep)[0]
            parts[part] = parts.get(part, 0) + found.st_size
    return parts, files, unread


def read_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2] not in UNITS:
        raise ValueError(f"bad limit `{text}`: write one like 500MB or 2GiB")
    return int(float(match[1]) * UNITS[match[2]])


def show_size(size: int) -> str:
    for unit in ("TB", "GB", "MB", "kB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size} B"
