"""The proof: `python -m demo.proof [--quick] [--arms ARM …] [--pairs PAIR …] [--seeds N] [--lanes N] [--out DIR]`.

With --unknown-look on a base that does not know the look; with --redraw or --style of what that stage's parts do.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from lora_core.errors import HeadcanonError, RecipeError, UserError
from lora_core.progress import Stopped

_ASIDES: Final = {
    "unknown-look": "on a base that does not know the look",
    "redraw": "what the parts of redrawing do",
    "style": "what the style stage does at several doses",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the arms and writes results, tables and pictures; returns the exit status.

    0: done; 1: an arm run failed, the others are written; 2: something that the caller can mend.
    """
    options = _parser().parse_args(arguments)
    try:
        return _run(options, options.out or Path("out") / _folder(options))
    except HeadcanonError as error:
        sys.stderr.write(f"proof: {' '.join(str(error).split())}\n")
        return 2 if isinstance(error, UserError) else 1
    except (KeyboardInterrupt, Stopped):
        sys.stderr.write("proof: stopped; the same command goes on from here\n")
        return 130


def _run(options: argparse.Namespace, out: Path) -> int:
    from demo.proof import forgetful, scope, variants
    from demo.proof.arms import ASIDE, CORE, arm_names, read_arm
    from demo.proof.docs import write_docs
    from demo.proof.output import collect, one_writer, prove
    from demo.proof.pairs import MARKED_PAIRS, PAIRS

    groups = {"core": CORE, "all": tuple(name for name in arm_names() if name not in ASIDE)}
    if options.aside == forgetful.UNKNOWN_LOOK:
        groups = {"core": forgetful.ARMS, "all": arm_names()}
    elif options.aside:
        groups = dict.fromkeys(groups, variants.ARMS[options.aside])
    names = dict.fromkeys(name for word in _words(options) for name in groups.get(word, (word,)))
    arms = [read_arm(name) for name in names]
    covered = scope.quick(arms) if options.quick else scope.full(arms)
    if options.aside == forgetful.UNKNOWN_LOOK:
        covered = forgetful.on_forgetful_base(covered, out)
    elif options.aside:
        covered = scope.on_four_pairs(covered, options.aside)
    if options.pairs:
        known = {pair.name: pair for pair in (*PAIRS, *MARKED_PAIRS)}
        if unknown := [name for name in options.pairs if name not in known]:
            raise RecipeError(f"--pairs {unknown[0]}: there is no such pair; known: {', '.join(known)}")
        covered = replace(covered, pairs=tuple(known[name] for name in options.pairs), alike=True)
    if options.seeds:
        covered = replace(covered, seeds=tuple(range(1, options.seeds + 1)))
    if options.write_docs:
        with one_writer(out):
            collect(covered, out, _say)
            _say(f"wrote {write_docs(out)}")
        return 0
    if options.aside == forgetful.UNKNOWN_LOOK:
        forgetful.make_base(out, _say)
    results = prove(covered, out, _say, options.lanes)
    for one in results.failed:
        sys.stderr.write(f"proof: {one.run}: {one.error}\n")
    return 1 if results.failed else 0


def _folder(options: argparse.Namespace) -> str:
    if options.aside == "unknown-look":
        return "proof-unknown"
    return "proof-quick" if options.quick else "proof"


def _words(options: argparse.Namespace) -> Sequence[str]:
    """Which arms: those that were asked for, else the core, or for the docs whatever is finished."""
    return options.arms or (["all"] if options.write_docs else ["core"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.proof",
        description="Does the method take the 3D look out? Trains the character in several ways and measures each. "
        "It can be stopped at any time: the same command goes on where it was.",
    )
    parser.add_argument("--quick", action="store_true", help="one pair, one seed, less of everything: ten minutes")
    parser.add_argument(
        "--arms",
        nargs="+",
        metavar="ARM",
        help="core (default; with --unknown-look, --redraw and --style their own), all, names of demo/recipes/*.toml, "
        "or paths of your own",
    )
    parser.add_argument("--pairs", nargs="+", metavar="PAIR", help="only these pairs, such as momo-yuki")
    parser.add_argument(
        "--seeds", type=int, choices=range(1, 10), metavar="N", help="training seeds (default: 2, with --quick 1)"
    )
    parser.add_argument(
        "--lanes",
        type=int,
        choices=range(1, 65),
        metavar="N",
        help="arm runs at once (default: one a core; on a GPU one)",
    )
    other = parser.add_mutually_exclusive_group()
    for aside, asks in _ASIDES.items():
        other.add_argument(
            f"--{aside}", dest="aside", action="store_const", const=aside, help=f"{asks}: four pairs, one training seed"
        )
    parser.add_argument("--out", type=Path, help="where everything goes (default: out/proof, or out/proof-quick, …)")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="train nothing: write docs/proof.md and its pages from the runs that are finished in OUT",
    )
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
