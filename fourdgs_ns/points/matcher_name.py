"""The names of the matchers, for commands: what they stand for loads OpenCV, a compiler or a network."""

from typing import Literal

MatcherName = Literal["sift", "dense", "roma"]
