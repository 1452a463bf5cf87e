from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from impcore.imp.signals import Stop, Stopped, watch

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("signum", "code"), CODES)
def test_the_first_signal_is_a_request(signum: int, code: int) -> None:
    before = signal.getsignal(signum)
    with watch() as stop:
        stop.check()
        os.kill(os.getpid(), signum)
        assert stop.signum == signum
        with pytest.raises(Stopped) as stopped:
            stop.check()
    assert stopped.value.exit_code == code
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("second", "code"), CODES)
def test_a_second_signal_ends_the_process_at_once(first: int, second: int, code: int) -> None:
    script = f"""
        import os, time
        from impcore.imp.signals import watch
        try:
            with watch():
                os.kill(os.getpid(), {int(first)})
                print("noted", flush=True)
                os.kill(os.getpid(), {int(second)})
                time.sleep(60)
        finally:
            print("unwound", flush=True)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == code
    assert ended.stdout == "noted\n"
    assert "once more to quit at once" in ended.stderr


def test_what_is_no_second_signal_is_not_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    with watch(Stop(passed_on=60)):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
    notice = (
        "\nstopping at the next step and saving; once more, 60 seconds later, to quit at once\n"
    )
    assert capfd.readouterr().err == notice


def test_in_another_thread_handlers_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with watch() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.signum))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]
