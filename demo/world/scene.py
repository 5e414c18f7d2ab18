"""What a picture shows around and of a character: framing, view, expression, background."""

import random
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Composition = Literal["close-up", "portrait", "upper_body", "cowboy_shot"]
View = Literal["straight-on", "from_side", "from_above", "from_below"]
Expression = Literal["smile", "laugh", "closed_eyes", "wink", "frown", "surprised"]
Background = Literal["white", "sky", "grass", "night", "indoors", "flowers"]

EXPRESSION_TAGS: Final[dict[Expression, tuple[str, ...]]] = {
    "smile": ("smile", "closed_mouth"),
    "laugh": ("smile", "open_mouth"),
    "closed_eyes": ("closed_eyes", "smile", "closed_mouth"),
    "wink": ("one_eye_closed", "smile", "open_mouth"),
    "frown": ("frown", "closed_mouth"),
    "surprised": ("surprised", "open_mouth"),
}
BACKGROUND_TAGS: Final[dict[Background, tuple[str, ...]]] = {
    "white": ("white_background", "simple_background"),
    "sky": ("sky", "cloud", "outdoors"),
    "grass": ("grass", "outdoors"),
    "night": ("night", "starry_sky", "outdoors"),
    "indoors": ("indoors", "window"),
    "flowers": ("floral_background",),
}
# Yaw below this is read as straight-on, above as from the side, in radians.
_SIDE_YAW: Final = 0.32


class Scene(BaseModel):
    """One picture's framing and mood."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    composition: Composition
    expression: Expression = "smile"
    background: Background = "white"
    yaw: float = Field(
        default=0.0,
        ge=-0.75,
        le=0.75,
        description="Turn of the head in radians; positive looks to the picture's right.",
    )
    pitch: float = Field(default=0.0, ge=-1, le=1, description="Camera height: 1 from above, -1 from below.")
    tilt: float = Field(default=0.0, ge=-0.3, le=0.3, description="Lean of the head in radians.")
    zoom: float = Field(default=1.0, ge=0.7, le=1.4, description="Size of the character within its framing.")
    shift_x: float = Field(
        default=0.0, ge=-0.3, le=0.3, description="Shift to the right, as a share of the picture's side."
    )
    seed: int = Field(default=0, ge=0, description="Places clouds, flowers and stars.")

    @property
    def view(self) -> View:
        """The view that the tags name."""
        if abs(self.pitch) >= 0.5:
            return "from_above" if self.pitch > 0 else "from_below"
        return "from_side" if abs(self.yaw) >= _SIDE_YAW else "straight-on"

    def tags(self) -> tuple[str, ...]:
        """Returns the canonical tags in a fixed order."""
        return (
            self.composition,
            self.view,
            *EXPRESSION_TAGS[self.expression],
            *BACKGROUND_TAGS[self.background],
        )

    @classmethod
    def random(cls, rng: random.Random) -> "Scene":
        """Returns a scene drawn from the world's habits."""
        view = rng.choices(get_args(View), weights=(5, 3, 1, 1))[0]
        yaw = rng.uniform(0.38, 0.72) * rng.choice((-1, 1)) if view == "from_side" else rng.uniform(-0.2, 0.2)
        pitch = {"from_above": rng.uniform(0.7, 1), "from_below": rng.uniform(-1, -0.7)}.get(
            view, rng.uniform(-0.2, 0.2)
        )
        return cls(
            composition=rng.choices(get_args(Composition), weights=(2, 4, 5, 4))[0],
            expression=rng.choice(get_args(Expression)),
            background=rng.choices(get_args(Background), weights=(4, 2, 2, 2, 2, 2))[0],
            yaw=yaw,
            pitch=pitch,
            tilt=rng.uniform(-0.12, 0.12),
            zoom=rng.uniform(0.86, 1.06),
            shift_x=rng.uniform(-0.04, 0.04),
            seed=rng.randrange(2**31),
        )
