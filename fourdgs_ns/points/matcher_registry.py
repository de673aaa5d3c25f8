"""The matchers by name; none is imported before it is asked for: they load a compiler, and one of them a network."""

from __future__ import annotations

from fourdgs_ns.points.matcher import Matcher
from fourdgs_ns.points.matcher_name import MatcherName


def make_matcher(name: MatcherName, max_points: int | None = None) -> Matcher:
    """The matcher of that name; ``max_points`` limits its points per key frame (None: its own default).

    Raises UserError when the matcher cannot run here.
    """
    if name == "dense":
        from fourdgs_ns.points.plane_sweep import DenseMatcher

        return DenseMatcher(max_points)
    if name == "roma":
        from fourdgs_ns.points.roma import RomaMatcher

        return RomaMatcher(max_points)
    from fourdgs_ns.points.sift import SiftMatcher

    return SiftMatcher(max_points)
