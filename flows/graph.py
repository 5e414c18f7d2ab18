"""The whole method as one graph (docs/method.md), written down here and nowhere else.

It is run to its end or to a target (`make_lora`), peeked at (`peek`), or run for its style branch alone (`make_style`).
Every step is cached, so a run resumes where the last one ended. Behind the target nothing runs and refs are pending.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from prefect import flow

from flows.artifacts import CaptionedSet, Inputs, RunArtifacts, StyledBase, TaggedSet, TaggedSets
from flows.edge import making_damaged_bytes_again
from flows.ending import ending_as_asked
from flows.gate import pass_epoch_gate, pass_gate, pass_successor_gate
