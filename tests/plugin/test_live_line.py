"""The line of a training tells what it should, and nothing before and after."""

from __future__ import annotations

import re

from fourdgs_ns.common import progress
from fourdgs_ns.plugin import live_line
from fourdgs_ns.plugin.live_line import LiveLine


def test_rows_of_a_training_without_a_terminal(capsys, monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: seconds[0])
    monkeypatch.setattr(live_line, "perf_counter", lambda: seconds[0])
    line = LiveLine()
    line.step(1, 5)
    line.open(500, 1000)
    for done in range(501, 1001):
        seconds[0] += 0.1
        line.step(done, 2000 + done)
        if done == 800:
            line.score(28.944)
    line.close()
    line.step(1000, 5)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "training 500/1000"
    assert 5 <= len(rows) <= 7
    assert re.match(r"training 6\d\d/1000 2,6\d\d Gaussians, [\d.]+ it/s, 0:\d\d left$", rows[2]), rows
    assert re.match(r"training 9\d\d/1000 held out 28.94 dB, 2,9\d\d Gaussians", rows[-1]), rows
