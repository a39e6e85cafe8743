"""Measure a plain install: its size, and the CPU time of commands from the shell with bytecode compiled.

Run: `python benchmarks/install.py` (makes a virtual environment in a temporary folder; needs a package index).
Targets: core install at most 150 MB; `inferwise --help` at most 0.25 s, `inferwise models NAME` at most 0.30 s,
`inferwise fit` at most 0.40 s, `inferwise fit --gpu this` at most 2 s.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "--help": ["--help"],
    "models NAME": ["models", "deepseek-ai/DeepSeek-V3"],
    "models NAME --explain": ["models", "deepseek-ai/DeepSeek-V3", "--explain"],
    "fit NAME --gpu": ["fit", "deepseek-ai/DeepSeek-V3", "--gpu", "h200", "--tp", "8"],
    "fit NAME --gpu, GGUF": ["fit", "Qwen/Qwen3-30B-A3B", "--gpu", "rtx-4090", "--weights", "Q4_K_M"],
    "fit NAME, all devices": ["fit", "meta-llama/Llama-3.1-8B-Instruct"],
    "fit --gpu this, the whole catalog": ["fit", "--gpu", "this"],
    "gpus": ["gpus"],
    "detect": ["detect"],
    "models (the whole catalog)": ["models"],
}


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    os.environ.clear()
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        packages = next(Path(folder, "lib").glob("python*/site-packages"))
        before = size(packages)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", str(ROOT)], check=True)
        installed = size(packages) - before
        subprocess.run([python, "-m", "compileall", "-q", str(packages)], check=False)
        script = str(Path(folder, "bin", "inferwise"))
        runs = {name: [cpu_seconds([script, *args]) for _ in range(9)] for name, args in COMMANDS.items()}
    figures = {
        name: {"median_s": round(median(times), 3), "max_s": round(max(times), 3)} for name, times in runs.items()
    }
    print(json.dumps({"install_mb": round(installed / 1e6, 1), "cpu": figures}, indent=2))
    return 0


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
