"""Every error that headcanon raises on purpose.

::

    HeadcanonError
    ├── UserError                 the user can mend it: one line on stderr, exit status 2
    │   ├── RecipeError           an option that does not exist or is out of bounds
    │   ├── ImageError            a picture that cannot be used (file named)
    │   ├── DatasetError          a set of pictures that cannot be used as a whole
    │   ├── CaptionError          a caption or caption rule that cannot be used
    │   │   └── ContentRuleError  what is refused whatever the options; the rule has no switch
    │   ├── TaggerError           no tagger, one that sees too little, or files that do not belong together
    │   ├── CheckpointError       a base model that cannot be loaded, pickles included
    │   ├── LoraError             a LoRA file that cannot be read or does not fit the base
    │   │   └── OtherKindError    one of a kind that is known and not used here
    │   ├── StoreError            the store's disk is full or read-only, or bytes are gone
    │   │   └── DamagedError      bytes in the store were damaged, and are removed
    │   ├── OutputExistsError     a name is taken by other bytes
    │   ├── PublishError          the hub cannot be reached, or refuses
    │   ├── HubError              a model that cannot be had, or whose bytes are not those that were pinned
    │   └── GateError             a check between two steps was not passed
    └── TrainingError             a run that cannot go on: loss is not finite, out of memory

Messages say what was got, where, what is allowed, and what to do next.
"""


class HeadcanonError(Exception):
    """Base of everything raised on purpose."""


class UserError(HeadcanonError):
    """Something the user can mend. Commands print the message alone and exit with 2."""


class RecipeError(UserError):
    """An unknown option, or a value out of its bounds."""


class ImageError(UserError):
    """A picture that cannot be used. The message names the file."""


class DatasetError(UserError):
    """A set of pictures that cannot be used as a whole: none readable, none of a composition."""


class CaptionError(UserError):
    """A caption that is missing or empty, or a rule that makes no sense."""


class ContentRuleError(CaptionError):
    """The content rule refuses what is to be trained, merged or drawn. It has no switch."""


class TaggerError(UserError):
    """No tagger at the place named, one blind to what must be seen, or files that do not belong together."""


class CheckpointError(UserError):
    """A base model that cannot be loaded: missing parts, unknown architecture, pickle."""


class LoraError(UserError):
    """A LoRA file that cannot be read, or that does not fit the base model."""


class OtherKindError(LoraError):
    """A LoRA file of a kind that is known and not used here: `what` says which."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: this is {what}, not a LoRA as sd-scripts writes it; a plain one is needed")
        self.what = what


class StoreError(UserError):
    """The store cannot do its job: disk full, not writable, bytes gone."""


class DamagedError(StoreError):
    """Bytes in the store were not those of their name. They are removed, so that they are made again."""


class OutputExistsError(UserError):
    """An output name is taken by other bytes; nothing is ever overwritten."""


class PublishError(UserError):
    """The hub cannot be reached, or refuses."""


class HubError(UserError):
    """A model that cannot be had from the hub or another folder, or whose bytes are not those that were pinned."""


class GateError(UserError):
    """A check between two steps was not passed."""


class TrainingError(HeadcanonError):
    """Training cannot go on. The last good state is kept."""
