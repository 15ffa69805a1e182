"""Compiled loops give what Python gives, hold no lock, and are made also where nothing can be kept."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from patchline.engine.numerics.compiled import compiled
from patchline.engine.types import Floats


def _count_above(values: Floats, least: float) -> int:
    found = 0
    for value in values:
        if value > least:
            found += 1
    return found


def _wait_until_told(told: Floats) -> int:
    turns = 0
    while told[0] == 0 and turns < 10**11:
        turns += 1
        told[1] += 1
    return turns


def test_a_loop_gives_what_python_gives() -> None:
    """The function itself is left as it is."""
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert compiled(_count_above)(values, 0.5) == _count_above(values, 0.5) > 0


def test_other_threads_go_on_meanwhile() -> None:
    """A loop that waits for another thread ends, as it holds no lock of the interpreter."""
    told = np.zeros(2, dtype=np.float32)
    wait = compiled(_wait_until_told)
    wait(np.ones(2, dtype=np.float32))  # compiled
    waiting = threading.Thread(target=wait, args=(told,), daemon=True)
    waiting.start()
    told[0] = 1
    waiting.join(60)
    assert not waiting.is_alive()


def test_where_nothing_can_be_kept_it_is_compiled_again(tmp_path: Path) -> None:
    """Neither beside the module nor in the user's folder, as in a container whose file system is read-only."""
    (tmp_path / "home").write_text("no folder", encoding="utf-8")
    (tmp_path / "loops.py").write_text(
        "from patchline.engine.numerics.compiled import compiled\n"
        "@compiled\ndef twice(value):\n    return 2 * value\n"
        "print(twice(21))\n",
        encoding="utf-8",
    )
    (tmp_path / "__pycache__").write_text("no folder", encoding="utf-8")
    nowhere = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "loops.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | nowhere,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "42"


def test_what_is_loaded_ahead_is_not_loaded_again() -> None:
    """The first loop that is called then imports nothing, or the little that compiling takes where it is not kept."""
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from patchline.engine.numerics.compiled import load_ahead\n"
        "from patchline.engine.search.code_passes import at_least\n"
        "before = set(sys.modules)\n"
        "load_ahead().join()\n"
        "ahead = set(sys.modules)\n"
        "at_least(np.zeros((2, 64), np.int32), np.ones(2, np.int32))\n"
        "print(len(ahead - before), len(set(sys.modules) - ahead))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded, again = map(int, done.stdout.split())
    assert loaded > 100
    assert again < 10
