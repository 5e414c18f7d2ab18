"""The command line: `headcanon`. Exit status 0: done; 2: something the user can mend; 1: a failure of ours."""

import os
import sys

# Before Prefect is imported anywhere: it reads these once. A user's own settings win.
for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # 20 are too few on a busy machine
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # errors are told by us, in one line, without a traceback
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)


def main() -> None:
    """Entry point of the `headcanon` command."""
    from flows.cli.app import app
    from flows.private import keep_private, prefect_home
    from lora_core.bounded import name_fault
    from lora_core.errors import HeadcanonError, UserError
    from lora_core.printable import one_line

    keep_private(prefect_home())
    try:
        app(standalone_mode=True)
    except UserError as error:
        _say(f"headcanon: {one_line(error)}")
        sys.exit(2)
    except HeadcanonError as error:
        _say(f"headcanon: {one_line(error)}")
        sys.exit(1)
    except OSError as error:
        if (mistake := name_fault(error)) is None:
            raise
        _say(f"headcanon: {one_line(mistake)}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("headcanon: stopped; the same command goes on from here")
        sys.exit(130)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
