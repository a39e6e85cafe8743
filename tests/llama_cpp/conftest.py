from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.llama_cpp import engine, gguf_models
from tests.llama_cpp.cases import CASES, Loaded
from tests.llama_cpp.shapes import Shape

Load = Callable[[str], Loaded]

RANDOM = ("Q8_0", "Q4_0")  # formats whose files have random weights: small, middling and 1B, dense, windows, experts


@pytest.fixture(scope="session")
def load_case(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """One of CASES by name: its file is written and it is loaded once a session."""
    pytest.importorskip("xllamacpp", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("gguf")
    written: list[tuple[Shape, str, Path]] = []

    def file(shape: Shape, weights: str) -> Path:
        for its_shape, its_weights, path in written:
            if (its_shape, its_weights) == (shape, weights):
                return path
        path = gguf_models.write(folder / f"{len(written)}.gguf", shape, weights=weights, random=weights in RANDOM)
        written.append((shape, weights, path))
        return path

    @cache
    def load(name: str) -> Loaded:
        case = CASES[name]
        path = file(case.shape, case.weights)
        return Loaded(case=case, path=path, log=engine.load(path, case.settings))

    return load


@pytest.fixture(params=CASES)
def loaded(request: pytest.FixtureRequest, load_case: Load) -> Loaded:
    """Each of CASES in turn."""
    return load_case(request.param)


@pytest.fixture(scope="session")
def loaded_cases(load_case: Load) -> tuple[Loaded, ...]:
    """All of CASES at once."""
    return tuple(load_case(name) for name in CASES)
