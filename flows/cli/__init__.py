"""The command line: `headcanon`.

Exit status 0: done; 2: user error; 1: internal error; 130, 143, 129: stopped by Ctrl-C, by SIGTERM,
by a closed terminal.
"""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path

# Before Prefect is imported anywhere: it reads these once. A user's own settings win.
for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # 20 are too few on a busy machine
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # our own commands print errors, in one line
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)


def main() -> None:
    """Entry point of the `headcanon` command."""
    from lora_core.bounded import name_fault
    from lora_core.errors import HeadcanonError, UserError
    from lora_core.printable import one_line
    from lora_core.progress import Stopped
    from tasks import stopping

    say_everything()
    keep_private(Path(os.environ.get("PREFECT_HOME") or "~/.prefect"))
    try:
        with stopping.heeding_signals():
            from flows.cli.app import app

            app(standalone_mode=True)
    except UserError as error:
        _say(f"headcanon: {one_line(error)}")
        sys.exit(2)
    except HeadcanonError as error:
        _say(f"headcanon: {one_line(error)}")
        sys.exit(1)
    except (Exception, Stopped) as error:
        # Compiled code that calls back into Python makes an error of its own of a signal that comes meanwhile.
        if isinstance(error, Stopped) or stopping.signal_heard():
            _say(f"headcanon: {stopping.asked()}.{stopping.kept()} Run the same command to resume.")
            sys.exit(128 + (stopping.signal_heard() or signal.SIGINT))
        if isinstance(error, OSError) and (mistake := name_fault(error)):
            _say(f"headcanon: {one_line(mistake)}")
            sys.exit(2)
        raise


def say_everything() -> None:
    """Escape what a stream cannot show, as a log on Windows (cp1252), instead of ending with an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def keep_private(home: Path) -> None:
    """Take all rights to Prefect's own folder and its database from others: runs' parameters and tokens are in there.

    What does not exist or belongs to somebody else stays as it is.
    """
    with contextlib.suppress(OSError, RuntimeError):
        folder = home.expanduser()
        for path, mode in ((folder, 0o700), *((file, 0o600) for file in folder.glob("prefect.db*"))):
            if path.stat().st_mode & 0o077:
                path.chmod(mode)


def echo(text: object = "") -> None:
    """Print lines to stdout, with terminal control characters escaped; `tasks.terminal` prints tables and colours."""
    import typer

    from lora_core.printable import printable

    typer.echo(printable(text))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
