"""Ctrl-C and SIGTERM leave soon, in order, with exit code 130 and the command that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

BEGIN = """
import sys, time, hashlib, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have turned it off for what it runs in the background
from pathlib import Path
from fourdgs_ns.common import interrupts
from fourdgs_ns.common.files import replacing
interrupts.is_own_process = lambda: True
def ready():
    print("ready", flush=True)
with interrupts.interruptible():
"""
STAGES = {
    "python": "    ready()\n    while True: time.sleep(0.01)",
    "a thread that is waited for": "    t = threading.Thread(target=time.sleep, args=(30,))\n    t.start()\n    ready()\n"
    "    try: t.join()\n    finally: t.join()",
    "compiled code": "    ready()\n    hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**8)",
    "a file that is being written": "    with replacing(Path('out')) as part:\n        part.write_text('half')\n        ready()\n"
    "        hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**8)",
    "what swallows it": "    ready()\n    while True:\n        try: time.sleep(0.01)\n        except BaseException: pass",
}


def interrupted(code: str, cwd, *signals: int) -> tuple[int, str, float]:
    """Exit code, standard error and seconds to the end of a process that runs ``code``."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    err = process.communicate(timeout=30)[1]
    return process.returncode, err, time.monotonic() - began


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_ends_soon(tmp_path, stage):
    number = signal.SIGTERM if stage == "python" else signal.SIGINT
    code, err, seconds = interrupted(STAGES[stage], tmp_path, number)
    assert code == 130 and "Go on with:" in err and "Traceback" not in err, err
    assert seconds < 2.5 and list(tmp_path.iterdir()) == []


def test_work_that_stops_gently_is_waited_for_and_a_second_signal_does_not_wait(tmp_path):
    gentle = (
        "    stop = []\n    with interrupts.stopping_gently(lambda: stop.append(1)):\n        ready()\n"
        "        while not stop: time.sleep(0.01)\n        time.sleep(3)\n        Path('saved').write_text('')\n"
        "        interrupts.tell_way_on('All is saved.')\n        raise KeyboardInterrupt"
    )
    code, err, seconds = interrupted(gentle, tmp_path, signal.SIGINT)
    assert code == 130 and "All is saved. Go on with:" in err and seconds > 3 and (tmp_path / "saved").exists()
    (tmp_path / "saved").unlink()
    code, err, seconds = interrupted(gentle, tmp_path, signal.SIGINT, signal.SIGINT)
    assert code == 130 and "Go on with:" in err and seconds < 1.5 and list(tmp_path.iterdir()) == []
