"""`inferwise models`: the catalog, and one model of it."""

from __future__ import annotations

from inferwise.cli.options import AS_PUBLISHED, Explain, Formats, Json


def models(
    *words: str,
    formats: Formats = AS_PUBLISHED,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """List the catalog, search it by words, or show one model (also from the Hub or a file).

    Parameters
    ----------
    words
        Nothing: list all. A model (as for `fit`): show it. Words: the catalog's models that have them all.
    """
    from inferwise.catalog import models as catalog
    from inferwise.read import resolve
    from inferwise.report import models as report
    from inferwise.report.tables import to_json

    layout = formats.layout()
    if words and words[0] in ("list", "search", "show"):  # as users of other tools type it
        words = words[1:]
    found = catalog.search(" ".join(words)) if words else catalog.names()
    if words and ((len(words) == 1 and resolve.names_one(words[0])) or not found):
        model = resolve.resolve(" ".join(words))
        explained = [report.explain_text(model, layout)] if explain else []
        if json:
            shown = report.model_dict(model, formats.weights or None, layout)
            print(to_json(shown | ({"explanation": explained[0].splitlines()} if explain else {})))
        else:
            print("\n\n".join((report.model_text(model, formats.weights or None, layout), *explained)))
        return 0
    rows = [(resolve.from_catalog(entry), entry) for entry in map(catalog.entry, found)]
    if json:
        listed = [
            {"id": e.id, "parameters": m.parameters, "active_parameters": m.active_parameters, "verified": e.verified}
            for m, e in rows
        ]
        print(to_json({"schema": "inferwise/models/1", "models": listed}))
    else:
        print(report.list_text((model, entry.verified) for model, entry in rows))
    return 0
