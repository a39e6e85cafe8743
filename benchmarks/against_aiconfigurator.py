"""The same questions to inferwise and to NVIDIA's aiconfigurator 0.12.0, in one run: CPU seconds of an answer.

    python -m venv AIC && AIC/bin/pip install aiconfigurator==0.12.0
    python benchmarks/against_aiconfigurator.py AIC/bin/python

Each asks in a process of its own, after one question that loads its files; threads are held to one. Only speed is
compared: what either answers is printed and judged nowhere here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

MODELS = (("Qwen/Qwen3-32B", 2), ("Qwen/Qwen3-32B", 4), ("Qwen/Qwen3-30B-A3B", 2), ("Qwen/Qwen3-235B-A22B", 8))
QUESTIONS = [
    (model, tp, given, answer, requests)
    for model, tp in MODELS
    for given, answer in ((1024, 256), (4096, 512))
    for requests in (4, 24)
]

OURS = """
import json, sys, time
from inferwise import estimate, model
questions, rows = json.loads(sys.argv[1]), []
models = {name: model(name) for name in {each[0] for each in questions}}
for number, (name, tp, given, answer, requests) in enumerate([questions[0], *questions]):
    start = time.process_time()
    made = estimate(models[name], "h100-sxm", count=tp, tp=tp, input=given, output=answer, concurrency=requests)
    if number:
        rows.append((time.process_time() - start, made.ttft_s * 1e3, made.tpot_s * 1e3))
print(json.dumps(rows))
"""

THEIRS = """
import contextlib, io, json, logging, sys, time
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate
rows, questions = [], json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    for number, (name, tp, given, answer, requests) in enumerate([questions[0], *questions]):
        start = time.process_time()
        experts = {} if name.endswith("32B") else {"moe_tp_size": tp, "moe_ep_size": 1}
        try:
            made = cli_estimate(name, "h100_sxm", backend_name="vllm", isl=given, osl=answer, batch_size=requests,
                                tp_size=tp, **experts)
            found = (time.process_time() - start, made.ttft, made.tpot)
        except Exception as error:
            found = (time.process_time() - start, None, type(error).__name__)
        if number:
            rows.append(found)
print(json.dumps(rows))
"""


def asked(python: str, program: str) -> list[tuple[float, float | None, float | str]]:
    """CPU seconds, TTFT and TPOT [ms] of each question."""
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [python, "-c", program, json.dumps(QUESTIONS)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | alone)
    found: list[tuple[float, float | None, float | str]] = json.loads(made.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print each question with both times, and the medians."""
    ours, theirs = asked(sys.executable, OURS), asked(sys.argv[1], THEIRS)
    for question, mine, other in zip(QUESTIONS, ours, theirs, strict=True):
        print(
            *question,
            f"| {1e3 * mine[0]:8.2f} ms of CPU",
            f"| {1e3 * other[0]:8.1f} ms of CPU",
            "|",
            mine[1:],
            other[1:],
        )
    both = [(mine[0], other[0]) for mine, other in zip(ours, theirs, strict=True) if other[1] is not None]
    first, second = (sorted(column)[len(both) // 2] for column in zip(*both, strict=True))
    print(
        f"{len(both)} of {len(QUESTIONS)} questions that both answer, median CPU: {1e3 * first:.2f} ms against ", end=""
    )
    print(f"{1e3 * second:.0f} ms: {second / first:.0f} times")


if __name__ == "__main__":
    main()
