"""Runs the examples of pages as they stand, but for the service's address.

`readme.py PAGE...` runs each block of Python, and compares its output with the block after it. It
leaves out examples of other libraries.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from world import World

OTHERS = ("from cashews", "from dogpile")
ADDRESS = '"localhost:50051"'
BLOCKS = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


def main() -> int:
    """Returns the number of blocks that differ."""
    pages = [BLOCKS.findall(Path(page).read_text()) for page in sys.argv[1:]]
    assert all(pages), "a page has lost its examples"
    blocks = [block for page in pages for block in page if not block[0].startswith(OTHERS)]
    wrong = 0
    world = World()
    try:
        for number, (program, expected) in enumerate(blocks, 1):
            assert ADDRESS in program, program
            # A busy machine may be late: the default timeout would then make a miss.
            here = f'"{world.address}", timeout="30s"'
            wrong += not matches(number, program.replace(ADDRESS, here), expected)
    finally:
        world.close()
    return wrong


def matches(number: int, program: str, expected: str) -> bool:
    """Runs a block, and returns True if its output is as expected."""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    if result.returncode == 0 and result.stdout == expected and expected:
        return True
    print(f"block {number}: expected {expected!r}, got {result.stdout!r}\n{result.stderr}")
    return False


if __name__ == "__main__":
    sys.exit(main())
