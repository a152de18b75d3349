"""The vocabulary of the world (topics, styles, sounds, generators), and titles and prompts made of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Topic(NamedTuple):
    """A topic with the nouns and places that its titles use, in English and Chinese."""

    name: str
    nouns: tuple[str, ...]
    places: tuple[str, ...]
    nouns_zh: tuple[str, ...]
    places_zh: tuple[str, ...]


class Style(NamedTuple):
    """A look, as a prompt asks for it in English and Chinese."""

    name: str
    prompt: str
    prompt_zh: str


class Generator(NamedTuple):
    """A video generator and which settings it reports (generators differ, so metadata is ragged)."""

    name: str
    guidance: float | None
    steps: int
    reports_seed: bool


TOPICS: tuple[Topic, ...] = (
    Topic(
        "ocean",
        ("ocean waves", "sailing boat", "surf", "lighthouse sea"),
        ("on a calm bay", "under a low sun", "along the coast", "far from the shore"),
        ("海浪", "帆船", "大海", "灯塔与海"),
        ("在平静的海湾", "夕阳下", "沿着海岸", "远离岸边"),
    ),
    Topic(
        "mountains",
        ("mountain peaks", "alpine ridge", "snowy summit", "mountain trail"),
        ("above the clouds", "at first light", "in deep snow", "across the valley"),
        ("雪山", "高山山脊", "山峰", "登山小路"),
        ("在云层之上", "晨光中", "深雪里", "越过山谷"),
    ),
    Topic(
        "city",
        ("city skyline", "skyscrapers", "downtown street", "city windows"),
        ("after midnight", "in the rain", "at rush hour", "from a rooftop"),
        ("城市天际线", "摩天大楼", "市中心街道", "城市灯火"),
        ("午夜之后", "在雨中", "高峰时段", "从屋顶看"),
    ),
    Topic(
        "forest",
        ("pine forest", "old trees", "woodland path", "deep woods"),
        ("in morning fog", "after rain", "in autumn", "where no one walks"),
        ("松树林", "古树", "林间小路", "森林深处"),
        ("在晨雾里", "雨后", "秋天", "无人走过"),
    ),
    Topic(
        "space",
        ("ringed planet", "galaxy", "distant moon", "space station orbit"),
        ("beyond the stars", "at the edge of the solar system", "in zero gravity", "light years away"),
        ("带环的行星", "银河", "遥远的卫星", "太空站轨道"),
        ("群星之外", "太阳系边缘", "失重之中", "几光年以外"),
    ),
    Topic(
        "cats",
        ("kitten", "tabby cat", "curious cat", "sleepy kitty"),
        ("by the window", "chasing a toy", "on the sofa", "asking for dinner"),
        ("小猫", "虎斑猫", "好奇的猫咪", "犯困的猫"),
        ("在窗边", "追玩具", "在沙发上", "等晚饭"),
    ),
    Topic(
        "food",
        ("ramen bowl", "noodle soup", "street food", "home cooking"),
        ("step by step", "at a night market", "in ten minutes", "from grandma's kitchen"),
        ("拉面", "面汤", "街头小吃", "家常菜"),
        ("一步一步做", "在夜市", "十分钟搞定", "奶奶的厨房"),
    ),
    Topic(
        "cars",
        ("sports car", "vintage car", "road race", "desert drive"),
        ("on an empty highway", "around the last corner", "at full speed", "before the start line"),
        ("跑车", "老爷车", "公路赛车", "沙漠驾驶"),
        ("在空旷的公路上", "最后一个弯道", "全速前进", "起跑线前"),
    ),
    Topic(
        "flowers",
        ("flower garden", "blooming roses", "sunflowers", "wild tulips"),
        ("opening in spring", "in a slow breeze", "on the balcony", "at the flower market"),
        ("花园", "盛开的玫瑰", "向日葵", "野生郁金香"),
        ("春天绽放", "微风里", "在阳台上", "在花市"),
    ),
    Topic(
        "balloons",
        ("hot air balloon", "balloon festival", "balloon ride", "floating balloons"),
        ("over the fields", "at sunrise", "with the wind", "high in the sky"),
        ("热气球", "热气球节", "乘热气球", "飘浮的气球"),
        ("飞过田野", "日出时", "随风而去", "高高的天空"),
    ),
    Topic(
        "robots",
        ("friendly robot", "robot helper", "tiny robots", "robot workshop"),
        ("learning to walk", "in the factory", "on its first day", "repairing a friend"),
        ("友好的机器人", "机器人助手", "小机器人", "机器人工坊"),
        ("学走路", "在工厂里", "第一天上班", "修理朋友"),
    ),
    Topic(
        "fish",
        ("tropical fish", "coral reef", "aquarium fish", "koi pond"),
        ("in clear water", "among the bubbles", "at feeding time", "under the bridge"),
        ("热带鱼", "珊瑚礁", "水族馆的鱼", "锦鲤池"),
        ("在清澈的水里", "气泡之间", "喂食时间", "在桥下"),
    ),
)

STYLES: tuple[Style, ...] = (
    Style("neon", "glowing neon light, dark background, cyan and magenta", "霓虹灯光，暗色背景，青色与品红"),
    Style("watercolor", "soft pastel watercolor on paper", "柔和的粉彩水彩画"),
    Style("pixel", "8-bit pixel art, few colours", "八位像素风，颜色很少"),
    Style("ink", "black ink brush drawing on rice paper", "宣纸上的水墨画"),
    Style("film", "warm 35mm film, teal and orange, grain", "暖色胶片，青橙色调，有颗粒"),
    Style("popart", "bold pop art poster, flat colours, halftone dots", "波普海报，平涂色彩，网点"),
)

SOUNDS: tuple[str, ...] = ("piano", "techno", "ambient", "chiptune", "rain", "bells", "funk", "birds")

GENERATORS: tuple[Generator, ...] = (
    Generator("lumen-video-2", 7.5, 50, True),
    Generator("kite-turbo", None, 8, True),
    Generator("paintbox-xl", 5.0, 30, True),
    Generator("reel-diffusion", 9.0, 40, False),
    Generator("mochi-motion", None, 24, False),
)

_ADJECTIVES = (
    "Quiet",
    "Wild",
    "Perfect",
    "Tiny",
    "Endless",
    "Magic",
    "Real",
    "Dreamy",
    "Last",
    "First",
    "Lost",
    "Golden",
)
_ADJECTIVES_ZH = (
    "安静的",
    "狂野的",
    "完美的",
    "小小的",
    "无尽的",
    "神奇的",
    "真实的",
    "梦幻的",
    "最后的",
    "第一次的",
    "迷失的",
    "金色的",
)
_ENDINGS = ("", "", "", " you have to see", ", part 2", " in one minute", ", made with AI", " (full version)")
_ENDINGS_ZH = ("", "", "", "，一定要看", "，第二集", "，一分钟看完", "，AI制作", "（完整版）")
_CAMERAS = ("slow pan", "close-up", "wide shot", "handheld camera", "drone shot")
_CAMERAS_ZH = ("缓慢平移", "特写", "广角", "手持镜头", "航拍")


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def title(topic: int, chinese: bool, rng: np.random.Generator) -> str:
    """A title in words that names the topic (and never the style or the sound)."""
    words = TOPICS[topic]
    if chinese:
        parts = (_ADJECTIVES_ZH, words.nouns_zh, words.places_zh, _ENDINGS_ZH)
        return "".join(_pick(rng, part) for part in parts)
    parts = (_ADJECTIVES, words.nouns, words.places)
    return " ".join(_pick(rng, part) for part in parts) + _pick(rng, _ENDINGS)


def prompt(topic: int, style: int, chinese: bool, rng: np.random.Generator) -> str:
    """The prompt that a generator was given: subject, place, style and camera."""
    words, look = TOPICS[topic], STYLES[style]
    if chinese:
        noun, place = _pick(rng, words.nouns_zh), _pick(rng, words.places_zh)
        return f"{noun}，{place}，{look.prompt_zh}，{_pick(rng, _CAMERAS_ZH)}"
    return f"{_pick(rng, words.nouns)} {_pick(rng, words.places)}, {look.prompt}, {_pick(rng, _CAMERAS)}"
