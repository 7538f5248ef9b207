"""Where the views of one sample are cut: by seconds on the recording's one clock."""

from __future__ import annotations

from collections.abc import Mapping

from coview.data.timeline import Timeline
from coview.data.views import ViewSpec


def place(
    recording: Timeline, views: Mapping[str, ViewSpec], share: Mapping[str, float], off_sync: float
) -> dict[str, float]:
    """Return the second at which each view starts.

    The longest view is placed uniformly in the span that all of the sample's streams share; every other starts
    uniformly between `off_sync` seconds before it begins and `off_sync` seconds after the moment that makes both end
    together, clipped to its own stream. With a sound longer than the picture this is the rule of xID; with a longer
    picture it is the same rule with the roles exchanged. A view with `after` starts that many seconds, drawn uniformly,
    after the first picture view; the first is then placed so that both fit, and the delay is shortened only where the
    recording is too short for it. A view aligned with another starts with it. What has no place in time starts at 0.

    Args:
        views: those that the recording has, by name.
        share: name -> a number in [0, 1): where in the room it has.
    """

    def draw(name: str, low: float, high: float) -> float:
        return low + max(0.0, high - low) * share[name]

    timed = {name: view for name, view in views.items() if view.seconds and view.with_ not in views}
    later = {name: view for name, view in timed.items() if view.after}
    plain = {name: view for name, view in timed.items() if name not in later}
    picture = next((name for name, view in plain.items() if view.medium == "picture"), None)
    # Delays come first: they decide how much room at its end the first picture has to leave.
    delays = {}
    for name, view in later.items():
        begin, end = view.span(recording)
        low, high = view.after or (0.0, 0.0)
        room = max(0.0, end - begin - view.seconds)
        delays[name] = draw(name, min(low, room), min(high, room))
    reserve = max((delays[name] + view.seconds for name, view in later.items()), default=0.0)

    starts = {name: 0.0 for name, view in views.items() if not view.seconds}
    order = sorted(plain, key=lambda name: (-plain[name].seconds, plain[name].stream))  # "audio" before "video"
    anchor: tuple[float, float] | None = None
    for name in order:
        seconds = plain[name].seconds
        begin, end = plain[name].span(recording)
        last = end - (max(seconds, reserve) if name == picture else seconds)
        if anchor is None:
            shared = [other.span(recording) for other in plain.values()]
            low, high = max(s[0] for s in shared), min(min(s[1] for s in shared) - seconds, last)
            if high < low:  # too little is shared, or nothing: the view's own stream decides
                low, high = begin, last
            starts[name] = draw(name, low, high)
            anchor = (starts[name], starts[name] + seconds)
            continue
        # Near the anchor but inside the stream; where that is impossible, at the end of the stream nearest to it.
        low = min(max(anchor[0] - off_sync, begin), max(begin, last))
        high = max(low, min(anchor[1] + off_sync - seconds, last))
        starts[name] = draw(name, low, high)
    for name, view in later.items():
        begin, end = view.span(recording)
        first = starts[picture] if picture else draw(name, begin, end - reserve)
        starts[name] = max(begin, min(first + delays[name], end - view.seconds))
    return starts | _with_others(views, starts)


def place_window(recording: Timeline, views: Mapping[str, ViewSpec], window: int, count: int) -> dict[str, float]:
    """Return the second at which each view starts in the `window`-th of `count` evenly spaced positions.

    With F frames at the view's rate and clips of L, clip k starts at frame floor(k (F - L) / (count - 1)), the sound at
    the same share of its own room; a single window is the middle one.
    """
    share = window / (count - 1) if count > 1 else 0.5
    timed = {name: view for name, view in views.items() if view.seconds}
    starts = {name: view.window_start(view.span(recording), share) for name, view in timed.items()}
    return dict.fromkeys(views, 0.0) | starts | _with_others(views, starts)


def _with_others(views: Mapping[str, ViewSpec], starts: Mapping[str, float]) -> dict[str, float]:
    return {name: starts[view.with_] for name, view in views.items() if view.with_ and view.with_ in starts}
