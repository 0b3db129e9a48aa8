"""The people of walkers/wild: bodies of all ages, and clothes, hair and bags with the shares of a street."""

import colorsys
import dataclasses

import numpy as np

Colour = tuple[float, float, float]  # RGB in 0…255


@dataclasses.dataclass(frozen=True)
class Build:
    """Proportions of one person; lengths as fractions of the standing height."""

    head: float  # half the height of the head
    hip: float  # height of the hip joints above the ground
    shoulder: float  # half the distance of the shoulder joints
    pelvis: float  # half the distance of the hip joints
    girth: float  # thickness of limbs and trunk, 1 is usual
    belly: float  # added to the depth of the waist
    stoop: float  # forward lean of the trunk, radians
    stride: float  # amplitude of the legs, radians


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Clothes, hair and things carried; `none` where there is nothing."""

    skin: Colour
    hair: Colour
    hairstyle: str  # short, bald, crop, bob, long, tail, bun, afro
    hat: str  # none, cap, beanie, brim, hood, scarf
    hat_colour: Colour
    beard: bool
    glasses: bool
    top: Colour
    top_kind: str  # shirt, jacket, puffer, vest, dress, suit, hoodie
    second: Colour  # of the pattern, of what an open jacket shows, of a block
    pattern: str  # plain, stripes, pinstripes, checks, print, logo, yoke, block, sleeves, panel
    opening: float  # how wide the front is open, radians to each side; 0 is closed
    sleeve: float  # 0 bare arms … 1 to the elbow … 2 to the wrist
    loose: float  # extra width of the upper garment
    hem: float  # how far the upper garment reaches from the hip (0) to the knee (1) and below
    legs: Colour
    legs_kind: str  # trousers, denim, shorts, skirt, tights
    leg_width: float
    skirt: float  # how far a skirt or dress reaches from the hip (0) to the knee (1) and the ankle (2)
    flare: float
    shoes: Colour
    boots: float  # how far up the shin, 0 … 1
    shawl: str  # none, scarf
    shawl_colour: Colour
    bag: str  # none, backpack, shoulder, hand, both_hands, trolley, umbrella, paper, pram
    bag_colour: Colour
    bag_size: float
    folds: float  # strength of the folds
    marks: tuple[tuple[float, float, float, float], ...]  # of a print or logo: angle, level, half width, half height


_DARK = [(15, 15, 17), (22, 22, 25), (32, 32, 36), (20, 25, 44), (43, 33, 27), (27, 36, 29), (50, 21, 27), (47, 47, 51)]
_NEUTRAL = [(92, 92, 96), (126, 126, 129), (160, 156, 150), (150, 128, 97), (98, 92, 67), (116, 89, 62), (186, 170, 140),
            (74, 84, 104)]  # fmt: skip
_LIGHT = [(236, 236, 236), (212, 212, 215), (226, 217, 200), (188, 205, 224), (240, 214, 214)]
_SKIN = [(210, 172, 149), (196, 156, 131), (178, 135, 108), (154, 110, 83), (118, 82, 61), (84, 58, 46), (60, 43, 36)]
_SKIN_SHARE = [0.2, 0.25, 0.19, 0.14, 0.1, 0.07, 0.05]
_HAIR = [(18, 15, 14), (34, 25, 20), (58, 40, 28), (96, 66, 42), (156, 120, 74), (205, 172, 118), (128, 58, 34), (112, 110, 108),
         (196, 194, 190)]  # fmt: skip
_HAIR_SHARE = [0.28, 0.24, 0.17, 0.1, 0.07, 0.04, 0.03, 0.05, 0.02]
_OLD_HAIR_SHARE = [0.03, 0.04, 0.05, 0.05, 0.03, 0.02, 0.01, 0.42, 0.35]


def _pick(rng: np.random.Generator, names: str, share: list[float]) -> str:
    return names.split()[int(np.searchsorted(np.cumsum(share) / sum(share), rng.random()))]


def _near(rng: np.random.Generator, colour: tuple, spread: float = 0.12) -> Colour:
    """Return a colour like the given one."""
    r, g, b = np.clip(np.array(colour) * np.exp(rng.normal(0, spread)) + rng.normal(0, 3.5, 3), 6, 248)
    return float(r), float(g), float(b)


def _among(rng: np.random.Generator, palette: list, share: list[float] | None = None) -> Colour:
    return _near(rng, palette[rng.choice(len(palette), p=share)])


def _vivid(rng: np.random.Generator) -> Colour:
    hue = rng.choice([0.0, 0.61, 0.56, 0.93, 0.1, 0.15, 0.36, 0.78], p=[0.3, 0.22, 0.1, 0.1, 0.08, 0.06, 0.1, 0.04])
    r, g, b = colorsys.hsv_to_rgb((hue + rng.normal(0, 0.025)) % 1.0, rng.uniform(0.35, 0.9), rng.uniform(0.35, 0.9))
    return float(255 * r), float(255 * g), float(255 * b)


def _denim(rng: np.random.Generator) -> Colour:
    wash = rng.beta(1.5, 2.0)
    dark, light = np.array([27.0, 33.0, 48.0]), np.array([134.0, 150.0, 173.0])
    r, g, b = dark + wash * (light - dark) + rng.normal(0, 4, 3)
    return max(float(r), 8.0), max(float(g), 8.0), max(float(b), 8.0)


def _cloth(rng: np.random.Generator, dark: float, neutral: float, light: float) -> Colour:
    """Draw a colour: with the shares given dark, neutral or light, vivid otherwise."""
    chance = rng.random()
    for palette, share in ((_DARK, dark), (_NEUTRAL, neutral), (_LIGHT, light)):
        if chance < share:
            return _among(rng, palette)
        chance -= share
    return _vivid(rng)


def sample_person(rng: np.random.Generator) -> tuple[Build, Outfit]:
    """Draw one person of the street."""
    age = _pick(rng, "child adult old", [0.09, 0.76, 0.15])
    feminine = rng.random() < 0.48
    return _build(rng, age, feminine), _outfit(rng, age, feminine)


def _build(rng: np.random.Generator, age: str, feminine: bool) -> Build:
    heavy = np.exp(rng.normal(0.0, 0.15))
    child = age == "child"
    head = rng.uniform(0.072, 0.088) if child else rng.uniform(0.059, 0.067)
    shoulder = rng.normal(0.078 if feminine or child else 0.089, 0.006)
    return Build(
        head=float(head),
        hip=float(rng.normal(0.455 if child else 0.485, 0.012)),
        shoulder=float(np.clip(shoulder * heavy**0.4, 0.062, 0.115)),
        pelvis=float(np.clip(rng.normal(0.049 if feminine else 0.044, 0.004), 0.034, 0.06)),
        girth=float(np.clip(heavy * (0.94 if feminine else 1.0), 0.72, 1.5)),
        belly=float(np.clip(rng.normal(0.025 if age == "old" else 0.008, 0.02) + 0.06 * (heavy - 1), -0.012, 0.07)),
        stoop=float(np.clip(rng.normal(0.16 if age == "old" else 0.045, 0.05), -0.06, 0.4)),
        stride=float(np.clip(rng.normal(0.33 if age == "old" else 0.46, 0.07), 0.2, 0.65)),
    )


def _outfit(rng: np.random.Generator, age: str, feminine: bool) -> Outfit:
    season = _pick(rng, "summer between winter", [0.3, 0.35, 0.35])
    summer, winter = season == "summer", season == "winter"
    hair = _among(rng, _HAIR, _OLD_HAIR_SHARE if age == "old" else _HAIR_SHARE)
    styles = (
        [0.16, 0.0, 0.02, 0.24, 0.31, 0.17, 0.07, 0.03] if feminine else [0.66, 0.1, 0.14, 0.03, 0.02, 0.01, 0.0, 0.04]
    )
    kind = _pick(
        rng, "shirt jacket puffer vest dress suit hoodie",
        [0.62, 0.1, 0.01, 0.03, 0.14 * feminine, 0.05, 0.05] if summer
        else [0.06, 0.5, 0.22, 0.03, 0.04 * feminine, 0.09, 0.1] if winter
        else [0.26, 0.36, 0.06, 0.04, 0.07 * feminine, 0.09, 0.2],
    )  # fmt: skip
    top = _cloth(rng, *((0.5, 0.2, 0.18) if summer else (0.76, 0.12, 0.05)))
    if kind == "suit":
        top = _among(rng, _DARK) if rng.random() < 0.8 else _among(rng, _NEUTRAL)
    if kind == "jacket" and rng.random() < 0.06:
        top = _denim(rng)
    legs_kind = _pick(
        rng, "trousers denim shorts skirt tights",
        [0.34, 0.36, 0.2, 0.13 * feminine, 0.06 * feminine] if summer else [0.4, 0.52, 0.02, 0.06 * feminine, 0.12 * feminine],
    )  # fmt: skip
    if kind == "suit" and rng.random() < 0.8:
        legs_kind, legs = "trousers", _near(rng, top, 0.05)
    elif legs_kind == "denim":
        legs = _denim(rng)
    elif legs_kind == "tights":
        legs = _among(rng, _DARK)
    else:
        legs = _cloth(rng, *((0.52, 0.32, 0.1) if summer else (0.72, 0.21, 0.04)))
    pattern = _pick(
        rng, "plain stripes pinstripes checks print logo yoke block sleeves panel",
        [0.42, 0.1, 0.04, 0.09, 0.08, 0.11, 0.05, 0.04, 0.05, 0.02] if kind in ("shirt", "dress", "hoodie")
        else [0.66, 0.02, 0.02, 0.03, 0.0, 0.08, 0.07, 0.04, 0.05, 0.03],
    )  # fmt: skip
    outer = kind in ("jacket", "puffer", "suit", "vest")
    coat = kind in ("jacket", "puffer") and rng.random() < (0.42 if winter else 0.16)
    dressed = kind == "dress"
    skirt = rng.uniform(0.45, 1.5) if dressed else rng.uniform(0.4, 1.6) if legs_kind == "skirt" else 0.0
    hats = [0.88, 0.07, 0.0, 0.03, 0.0, 0.02] if summer else [0.66, 0.06, 0.14, 0.02, 0.08, 0.04]
    hat = _pick(rng, "none cap beanie brim hood scarf", hats)
    bags = [0.42, 0.17, 0.15, 0.1, 0.04, 0.02, 0.02, 0.05, 0.03]
    count = int(rng.integers(4, 9)) if pattern == "print" else 2
    marks = tuple(
        (
            float(rng.normal(0, 0.42) if pattern == "print" else rng.choice([-0.5, 0.5, 0.0, np.pi])),
            float(rng.uniform(0.25, 0.8) if pattern == "print" else rng.uniform(0.2, 0.34)),
            float(rng.uniform(0.1, 0.36)),
            float(rng.uniform(0.03, 0.13) if pattern == "print" else rng.uniform(0.02, 0.08)),
        )
        for _ in range(count)
    )
    sleeve = 2.0
    if kind in ("shirt", "dress"):
        sleeve = float(
            rng.choice([0.0, 0.75, 1.0, 2.0], p=[0.12, 0.48, 0.22, 0.18] if summer else [0.01, 0.08, 0.06, 0.85])
        )
    return Outfit(
        skin=_near(rng, _SKIN[rng.choice(len(_SKIN), p=_SKIN_SHARE)], 0.06),
        hair=hair,
        hairstyle=_pick(rng, "short bald crop bob long tail bun afro", styles),
        hat=hat,
        hat_colour=top if hat == "hood" else _cloth(rng, 0.6, 0.15, 0.1),
        beard=bool(not feminine and age != "child" and rng.random() < 0.3),
        glasses=bool(rng.random() < 0.1),
        top=top,
        top_kind=kind,
        second=_cloth(rng, *((0.25, 0.25, 0.28) if outer else (0.2, 0.2, 0.3))),
        pattern=pattern,
        opening=float(rng.uniform(0.12, 0.6)) if outer and rng.random() < (0.35 if winter else 0.6) else 0.0,
        sleeve=0.0 if kind == "vest" and rng.random() < 0.4 else sleeve,
        loose=float(rng.uniform(0.008, 0.02) if kind == "puffer" else rng.uniform(0.0, 0.011) + 0.003 * outer),
        hem=float(rng.uniform(0.5, 1.35) if coat else rng.uniform(0.02, 0.34)),
        legs=legs,
        legs_kind=legs_kind,
        leg_width=float(rng.uniform(0.82, 0.98) if legs_kind == "tights" else np.exp(rng.normal(0.06, 0.12))),
        skirt=float(skirt),
        flare=float(rng.uniform(0.0, 0.06)),
        shoes=_cloth(rng, 0.55, 0.15, 0.22),
        boots=float(rng.uniform(0.2, 0.9)) if winter and feminine and rng.random() < 0.4 else 0.0,
        shawl="scarf" if rng.random() < (0.3 if winter else 0.05) else "none",
        shawl_colour=_cloth(rng, 0.3, 0.25, 0.15),
        bag=_pick(rng, "none backpack shoulder hand both_hands trolley umbrella paper pram", bags),
        bag_colour=_cloth(rng, 0.55, 0.2, 0.06),
        bag_size=float(np.exp(rng.normal(0, 0.2))),
        folds=float(rng.uniform(0.5, 1.6)),
        marks=marks,
    )
