"""`inferwise logs`: what an engine's start-up log says, beside what we predict for it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from inferwise.cli.options import Json


def logs(
    file: str,
    /,
    *,
    model: Annotated[str, Parameter(help="The model, where the log's name for it is not enough.")] = "",
    gpu: Annotated[str, Parameter(help="The device, where the log does not name it.")] = "",
    json: Json = False,
) -> int:
    """Read a start-up log of vLLM, SGLang or llama.cpp: its terms beside the prediction, each difference explained.

    Parameters
    ----------
    file
        The log.
    """
    from inferwise.errors import BadInput, InferwiseError
    from inferwise.evidence.log_case import case_of
    from inferwise.evidence.log_comparison import compare
    from inferwise.evidence.logs import read_log
    from inferwise.memory.engines import allocate
    from inferwise.report.logs import log_dict, log_text
    from inferwise.report.tables import to_json

    log = read_log(file)
    comparison, why_not = None, ""
    try:
        comparison = compare(log, allocate(case_of(log, model=model, gpu=gpu)))
    except InferwiseError as error:
        why_not = error.line()
    print(to_json(log_dict(log, comparison, why_not)) if json else log_text(log, comparison, why_not))
    if why_not and (model or gpu):  # what the user gave does not do
        raise BadInput(why_not)
    return 0
