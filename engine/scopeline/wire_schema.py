"""Prints the JSON Schema of the messages: `python -m scopeline.wire_schema > docs/wire.schema.json`."""

from __future__ import annotations

import json

from scopeline.wire import json_schema


def schema_text() -> str:
    """docs/wire.schema.json as it must be, ending with a line feed."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
