"""What a character is: the parts that stay the same from picture to picture."""

import random
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

HairColor = Literal["blonde", "brown", "black", "red", "pink", "blue", "green", "white"]
HairStyle = Literal["short", "long", "twintails", "ponytail", "twin_braids"]
Ears = Literal["none", "cat", "bear", "pointy"]
EyeColor = Literal["blue", "green", "red", "brown", "purple", "yellow"]
Skin = Literal["light", "dark"]
Garment = Literal["dress", "hoodie"]
ClothesColor = Literal["red", "blue", "green", "yellow", "white", "black", "purple"]
Mark = Literal["none", "curl", "sash", "tufts", "stripe"]

HAIR_STYLE_TAGS: Final[dict[HairStyle, tuple[str, ...]]] = {
    "short": ("short_hair",),
    "long": ("long_hair",),
    "twintails": ("long_hair", "twintails"),
    "ponytail": ("long_hair", "ponytail"),
    "twin_braids": ("long_hair", "twin_braids", "braid"),
}
EAR_TAGS: Final[dict[Ears, tuple[str, ...]]] = {
    "none": (),
    "cat": ("animal_ears", "cat_ears"),
    "bear": ("animal_ears", "bear_ears"),
    "pointy": ("pointy_ears",),
}


class Character(BaseModel):
    """One inhabitant of the drawn world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hair_color: HairColor
    hair_style: HairStyle
    eye_color: EyeColor
    ears: Ears = "none"
    skin: Skin = "light"
    hair_flower: bool = False
    garment: Garment = "dress"
    clothes_color: ClothesColor = "blue"
    mark: Mark = "none"
    """What no tag names (demo/world/mark.py)."""

    def tags(self) -> tuple[str, ...]:
        """Returns the canonical tags of body and clothes, in a fixed order."""
        skin = ("dark_skin",) if self.skin == "dark" else ()
        flower = ("hair_flower", "hair_ornament") if self.hair_flower else ()
        clothes = (f"{self.clothes_color}_{self.garment}", self.garment)
        hair = (f"{self.hair_color}_hair", *HAIR_STYLE_TAGS[self.hair_style])
        return (*hair, f"{self.eye_color}_eyes", *EAR_TAGS[self.ears], *skin, *flower, *clothes)

    def identity_tags(self) -> tuple[str, ...]:
        """Returns the tags that belong to the character whatever it wears."""
        clothes = (f"{self.clothes_color}_{self.garment}", self.garment)
        return tuple(tag for tag in self.tags() if tag not in clothes)

    def wearing(self, garment: Garment, color: ClothesColor) -> "Character":
        """Returns the same character in other clothes."""
        return self.model_copy(update={"garment": garment, "clothes_color": color})

    @classmethod
    def random(cls, rng: random.Random) -> "Character":
        """Returns a character drawn from the world's habits; the same `rng` state gives the same character."""
        return cls(
            hair_color=rng.choice(get_args(HairColor)),
            hair_style=rng.choice(get_args(HairStyle)),
            eye_color=rng.choice(get_args(EyeColor)),
            ears=rng.choice(get_args(Ears)),
            skin="dark" if rng.random() < 0.2 else "light",
            hair_flower=rng.random() < 0.2,
            garment="hoodie" if rng.random() < 0.3 else "dress",
            clothes_color=rng.choice(get_args(ClothesColor)),
        )


CAST: Final[dict[str, Character]] = {
    "momo": Character(
        hair_color="pink", hair_style="twintails", eye_color="green", ears="cat", garment="dress", clothes_color="blue"
    ),
    "yuki": Character(
        hair_color="black", hair_style="short", eye_color="brown", garment="dress", clothes_color="white"
    ),
    "lina": Character(
        hair_color="blonde",
        hair_style="twin_braids",
        eye_color="blue",
        ears="pointy",
        garment="dress",
        clothes_color="red",
    ),
    "kuma": Character(
        hair_color="brown", hair_style="short", eye_color="red", ears="bear", garment="hoodie", clothes_color="green"
    ),
    "sora": Character(
        hair_color="blue", hair_style="ponytail", eye_color="yellow", garment="hoodie", clothes_color="white"
    ),
    "zara": Character(
        hair_color="white",
        hair_style="long",
        eye_color="purple",
        ears="pointy",
        skin="dark",
        garment="dress",
        clothes_color="black",
    ),
    "mei": Character(
        hair_color="green",
        hair_style="long",
        eye_color="red",
        hair_flower=True,
        garment="dress",
        clothes_color="yellow",
    ),
    "akane": Character(
        hair_color="red", hair_style="ponytail", eye_color="blue", ears="cat", garment="hoodie", clothes_color="black"
    ),
}
"""The world's named inhabitants, quite different from one another."""

MARKED: Final[dict[str, Character]] = {
    "rika": Character(
        hair_color="brown",
        hair_style="ponytail",
        eye_color="purple",
        garment="dress",
        clothes_color="red",
        mark="curl",
    ),
    "hoshi": Character(
        hair_color="white",
        hair_style="twintails",
        eye_color="blue",
        garment="hoodie",
        clothes_color="purple",
        mark="sash",
    ),
    "nagi": Character(
        hair_color="red",
        hair_style="short",
        eye_color="green",
        ears="bear",
        garment="dress",
        clothes_color="blue",
        mark="sash",
    ),
}
"""Further inhabitants, each with a trait that no tag names: a curl that stands up, a sash on all that is worn."""

INHABITANTS: Final = {**CAST, **MARKED}
"""Everybody by name."""

TARGET: Final = CAST["momo"]
"""The character that the demo wants to draw without its 3D look."""

STYLE: Final = CAST["yuki"]
"""The character of the demo's style plan: very different from the target, so that only the look is shared."""
