"""The watch in conftest.py sees what tests leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

LEAKS = {
    "variable": "os.environ['FULMEN_LEAK'] = '1'",
    "lost_variable": "del os.environ['HOME']",
    "thread": "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "file": "open('left.txt', 'w').close()",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "signal": "signal.signal(signal.SIGTERM, lambda *_: None)",
    "process": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(5,)).start()",
    "process_group": "torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)",
}
CLEAN = {
    "seeding": "os.environ['PL_GLOBAL_SEED'] = '1'",
    "patched": "monkeypatch.setenv('FULMEN_LEAK', '1')",
    "short_thread": "threading.Timer(0.1, lambda: None).start()",
    "own_file": "(tmp_path / 'mine.txt').touch()",
}


def test_each_leak_is_an_error_and_clean_tests_pass(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    head = "import multiprocessing, os, signal, threading, time, torch, torch.distributed"
    store = "store = torch.distributed.HashStore()"
    tests = (f"def test_{name}(tmp_path, monkeypatch):\n    {line}" for name, line in (LEAKS | CLEAN).items())
    pytester.makepyfile("\n\n".join([head, store, *tests]))

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rE")

    result.assert_outcomes(passed=len(LEAKS) + len(CLEAN), errors=len(LEAKS))
    for name in LEAKS:
        result.stdout.re_match_lines([rf"ERROR .*::test_{name}\b.*"])
