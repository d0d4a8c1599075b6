"""A training that is killed anywhere ends as if it had never been killed: the script, with few kills."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_training_killed_at_random_moments_also_inside_writing_ends_the_same_to_the_byte():
    command = [sys.executable, "-W", "error", "-m", "tests.training.kill", "--kills", "4"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"^(\d+) kills, (\d+) inside writing", done.stdout)
    assert said, done.stdout
    assert int(said[1]) >= 4
    assert int(said[2]) >= 1
    weights = re.findall(r"step-000040  weights ([0-9a-f]{64})", done.stdout)
    assert len(weights) == 2
    assert weights[0] == weights[1]
    assert done.stdout.endswith("the same to the byte\n")
