"""How long a look at the inbox takes when nothing has changed: 50 folders of 1,000 pictures each.

Files are small: a look that finds nothing new lists them and reads none, so their size does not matter. (When a folder
has changed and rested, its new files are read once, as the run that follows would have to.)

Exits with 1 when the median look at what has not changed needs more than 5 seconds of processor time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from flows.inbox import MEMORY, Inbox
from lora_core.store import Store

MOST_SECONDS = 5.0
_QUIET_SECONDS = 600.0


def main() -> None:
    """Print the seconds of a first look and of looks at the same again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--looks", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        characters, store = Path(made) / "characters", Store(Path(made) / "store")
        for folder in range(asked.folders):
            (characters / f"{folder:03}").mkdir(parents=True)
            for picture in range(asked.pictures):
                (characters / f"{folder:03}" / f"{picture:04}.png").write_bytes(b"%d %d" % (folder, picture))

        def look(now: float) -> tuple[float, int]:
            started = time.process_time()
            inbox = Inbox(characters, store, store.root / MEMORY, print)
            found = len(list(inbox.changes(_QUIET_SECONDS, now)))
            return time.process_time() - started, found

        first = look(0.0)
        unchanged = [look(float(number)) for number in range(1, asked.looks + 1)]
        assert not first[1] + sum(found for _, found in unchanged)
        median = statistics.median(seconds for seconds, _ in unchanged)
        print(f"{asked.folders} folders of {asked.pictures}: first look {first[0]:.2f} CPU s")
        print(f"unchanged: median {median:.2f} CPU s of {asked.looks} looks (at most {MOST_SECONDS:.0f})")
    sys.exit(median > MOST_SECONDS)


if __name__ == "__main__":
    main()
