"""Tells the runner of WebAssembly/wasi-testsuite how to run a test with `taskhost run`. TASKHOST names the program."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

TASKHOST = shlex.split(os.getenv("TASKHOST", "taskhost"))

# The suite's own runner waits for so long.
TIMEOUT_SECONDS = 30


def get_name() -> str:
    return "taskhost"


def get_version() -> str:
    version = subprocess.run(TASKHOST[0:1] + ["--version"], encoding="UTF-8", capture_output=True, check=True)
    return version.stdout.split()[-1]


def get_wasi_versions() -> List[str]:
    return ["wasm32-wasip1"]


def get_wasi_worlds() -> List[str]:
    return ["wasi:cli/command"]


def get_timeout_seconds() -> float:
    return TIMEOUT_SECONDS


def compute_argv(
    test_path: str,
    args_env_root: Tuple[List[str], Dict[str, str], Optional[str]],
    proposals: List[str],
    wasi_world: str,
    wasi_version: str,
) -> List[str]:
    del proposals, wasi_world, wasi_version  # preview 1 has one of each
    args, env, root = args_env_root
    argv = [*TASKHOST, "run"]
    for key, value in env.items():
        argv += ["--env", f"{key}={value}"]
    if root:
        argv += ["--dir", f"{Path(root).absolute()}::/"]
    return [*argv, test_path, "--", *args]
