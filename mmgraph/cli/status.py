"""``mmgraph status``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say


def status(
    url: Annotated[str, typer.Argument(help="Of a server, as http://127.0.0.1:8000.")] = "http://127.0.0.1:8000",
    key_file: Annotated[Path | None, typer.Option(help="File whose first word is the API key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how a server is doing: bundle, how far behind its log, memory, what it fell back on."""
    with errors_for_people():
        import json
        import urllib.error
        import urllib.request

        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no address of a server; write http://HOST:PORT")
        request = urllib.request.Request(f"{url.rstrip('/')}/v1/status")
        if key_file is not None:
            words = key_file.read_text().split()
            if not words:
                raise UsageError(f"{key_file} is empty")
            request.add_header("authorization", f"Bearer {words[0]}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            body = error.read()
            detail = json.loads(body).get("detail", "") if body.startswith(b"{") else ""
            raise UsageError(f"{url} answers {error.code}: {detail or error.reason}") from None
        except urllib.error.URLError as error:
            raise UsageError(f"no server at {url}: {error.reason}") from None
        if as_json:
            print_json(found)
            return
        for name, value in found.items():
            say(f"{name:24} {value:,.6g}" if isinstance(value, (int, float)) else f"{name:24} {value}")
