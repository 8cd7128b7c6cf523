"""A W&B server on loopback, as much of one as the real client needs for a sweep.

It hands out the trials it is given, so it proves the client's side only: the choice of trials,
the web pages and the storage of the real service are not here.
"""

import gzip
import json
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROJECT = {"id": "p", "name": "dynaplan", "entity": {"id": "e", "name": "me"}}


class StubWandb:
    """Serve from `with` until it ends.

    Attributes:
        url: for WANDB_BASE_URL.
        sweep: the sweep's config as the client sent it.
        runs: run id -> {"config", "sweep", "history": rows, "files": names}.
        unknown: GraphQL operations that were answered with nothing.
    """

    def __init__(self, trials: list[dict[str, Any]], program: str = "mbrl"):
        """Store the parameters of each trial, handed out one after another."""
        self.sweep = ""
        self.runs: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"config": {}, "sweep": None, "history": [], "files": []}
        )
        self.unknown: list[str] = []
        self._program, self._trials = program, list(enumerate(trials))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "StubWandb":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that lead W&B here and keep its files in a folder."""
        folder.mkdir(exist_ok=True)
        places = {f"WANDB_{name}_DIR": str(folder) for name in ("CONFIG", "CACHE", "DATA")}
        return places | {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "k" * 40,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",  # else it reports crashes to its makers
            "NETRC": str(folder / "netrc"),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer: Any = {}
                if self.path == "/graphql":
                    answer = {"data": stub._answer(json.loads(body))}
                elif self.path.endswith("/file_stream"):
                    stub._stream(self.path.split("/")[-2], json.loads(body))
                self._reply(answer)

            def do_GET(self) -> None:
                self._reply({})

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._reply({})

            def _reply(self, answer: Any) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _stream(self, run: str, body: dict[str, Any]) -> None:
        """Store rows of history; the offset counts the rows before them."""
        sent = body.get("files", {}).get("wandb-history.jsonl")
        if sent:
            rows = [json.loads(line) for line in sent["content"]]
            self.runs[run]["history"][sent["offset"] :] = rows

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL operation."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        operation = found[1] if found else "?"
        method = getattr(self, f"_{operation}", None)
        if method is None:
            self.unknown.append(operation)
            return {}
        return method(request.get("variables") or {})

    def _Viewer(self, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "viewer": {
                "id": "u",
                "entity": "me",
                "username": "me",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _OrganizationCoreWeaveOrganizationID(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:
        self.sweep = given["config"]
        sweep = {"name": "sweep1", "project": PROJECT}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, given: dict[str, Any]) -> dict[str, Any]:
        sweep = {"id": "s", "name": given["sweep"], "method": "random", "state": "RUNNING"}
        return {"project": {"sweep": {**sweep, "config": self.sweep, "runs": {"edges": []}}}}

    def _CreateAgent(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "a"}}}

    def _Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the next trial when the agent is idle; send it home after the last."""
        commands: list[dict[str, Any]] = []
        if not json.loads(given["runState"]) and self._trials:
            number, parameters = self._trials.pop(0)
            args = {key: {"value": value} for key, value in parameters.items()}
            run = {"type": "run", "run_id": f"trial{number}", "program": self._program}
            commands = [{**run, "args": args}]
        elif not json.loads(given["runState"]):
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}

    def _RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        bucket = run and {
            "id": given["name"],
            "name": given["name"],
            "displayName": given["name"],
            "summaryMetrics": json.dumps(run["history"][-1] if run["history"] else {}),
            "logLineCount": 0,
            "historyLineCount": len(run["history"]),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run["history"][-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run["config"]),
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }
        return {"model": {**PROJECT, "bucket": bucket}}

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        inserted = given["name"] not in self.runs
        run = self.runs[given["name"]]
        run["config"] |= json.loads(given.get("config") or "{}")
        run["sweep"] = given.get("sweep") or run["sweep"]
        bucket = {
            "id": given["name"],
            "name": given["name"],
            "displayName": given["name"],
            "description": None,
            "config": json.dumps(run["config"]),
            "sweepName": run["sweep"],
            "project": PROJECT,
            "historyLineCount": len(run["history"]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        self.runs[given["run"]]["files"] += given["files"]
        places = [{"name": n, "uploadUrl": f"{self.url}/upload/{n}"} for n in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": places}}
