"""Schemathesis, on a specification of our routes made of the types of the openai and the ollama package.

Of a request for a response, the fields of simple types: from the whole schema, with its many kinds of input
and tools, the first requests take more than five minutes to make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ollama
import openai.types as kinds
from checks import URL, holds, main, tell
from ollama._types import ChatRequest, EmbedRequest, GenerateRequest, ShowRequest
from openai.types import chat, completion_create_params, embedding_create_params, responses
from openai.types.chat import completion_create_params as chat_params
from pydantic import TypeAdapter

CASES = int(os.environ.get("RKLLM_RS_TEST_CASES", "24"))  # for each route
MODELS = ("words", "agent", "embeds", "nobody")
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
        }
    },
}
OLLAMA_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _schema(kind: Any, parts: dict[str, Any], *, of_answer: bool = False) -> dict[str, Any]:
    """The JSON schema of a type; what it refers to goes to the specification's parts."""
    made = TypeAdapter(kind).json_schema(
        ref_template="#/components/schemas/{model}", mode="serialization" if of_answer else "validation"
    )
    for name, part in made.pop("$defs", {}).items():
        # Two packages may have a type of one name; the first stays, so those of one family share a file.
        parts.setdefault(name, part)
    return made


def _asked(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request: whole answers, of models of ours, most of them short."""
    made = _schema(kind, parts)
    if "$ref" in made:
        made = parts[made["$ref"].rpartition("/")[2]]
    made = json.loads(json.dumps(made))
    made["properties"]["model"] = {"enum": list(MODELS)}
    if "stream" in made["properties"]:
        made["properties"]["stream"] = {"const": False}
        made["required"] = sorted({*made.get("required", ()), "stream"})
    return made


def _simple(made: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that refer to no other schema, and a conversation of texts."""
    kept = {name: one for name, one in made["properties"].items() if "$ref" not in json.dumps(one)}
    turn = {
        "type": "object",
        "properties": {
            "role": {"enum": ["user", "assistant", "system", "developer"]},
            "content": {"type": "string"},
        },
        "required": ["role", "content"],
    }
    kept["input"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": turn, "maxItems": 5}]}
    return {**made, "properties": kept, "required": sorted({*made.get("required", ()), "input"})}


def _specification(routes: dict[str, tuple[Any, Any]], gets: dict[str, Any], error: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {}

    def answers(kind: Any) -> dict[str, Any]:
        good = _schema(kind, parts, of_answer=True)
        return {
            "200": {"description": "", "content": {"application/json": {"schema": good}}},
            "4XX": {"description": "", "content": {"application/json": {"schema": error}}},
        }

    paths: dict[str, Any] = {}
    for path, (request, answer) in routes.items():
        asked = _asked(request, parts)
        if path == "/v1/responses":
            asked = _simple(asked)
        body = {"required": True, "content": {"application/json": {"schema": asked}}}
        paths[path] = {"post": {"requestBody": body, "responses": answers(answer)}}
    for path, answer in gets.items():
        given = re.findall(r"{(\w+)}", path)
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in given
        ]
        paths[path] = {"get": {"parameters": parameters, "responses": answers(answer)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "rkllm-rs serve", "version": "1"},
        "paths": paths,
        "components": {"schemas": parts},
    }


def _run(specification: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "openapi.json"
        file.write_text(json.dumps(specification))
        command = [
            str(Path(sys.executable).with_name("st")),
            *("run", str(file), "--url", URL, "--phases", "coverage,fuzzing", "--max-examples", str(CASES)),
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
            *("--checks", "response_schema_conformance", "--warnings", "off", "--no-color"),
            *("--suppress-health-check", "all", "--continue-on-failure", "--seed", "1"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=folder)
        said = done.stdout + done.stderr
        counts = re.findall(r"([\d,]+) generated", said)
        holds(done.returncode == 0, said[-6000:])
        holds(
            counts and int(counts[0].replace(",", "")) >= CASES * len(specification["paths"]) // 2,
            said[-800:],
        )
        tell(cases=counts[0], routes=list(specification["paths"]))


def a30_openai() -> None:
    routes = {
        "/v1/chat/completions": (chat_params.CompletionCreateParamsNonStreaming, chat.ChatCompletion),
        "/v1/completions": (completion_create_params.CompletionCreateParamsNonStreaming, kinds.Completion),
        "/v1/embeddings": (embedding_create_params.EmbeddingCreateParams, kinds.CreateEmbeddingResponse),
    }
    _run(_specification(routes, {"/v1/models/{model}": kinds.Model}, ERROR))


def a30_responses() -> None:
    asked = responses.response_create_params.ResponseCreateParamsNonStreaming
    _run(_specification({"/v1/responses": (asked, responses.Response)}, {}, ERROR))


def c16_ollama() -> None:
    routes = {
        "/api/chat": (ChatRequest, ollama.ChatResponse),
        "/api/generate": (GenerateRequest, ollama.GenerateResponse),
        "/api/embed": (EmbedRequest, ollama.EmbedResponse),
        "/api/show": (ShowRequest, ollama.ShowResponse),
    }
    gets = {"/api/tags": ollama.ListResponse, "/api/ps": ollama.ProcessResponse}
    _run(_specification(routes, gets, OLLAMA_ERROR))


if __name__ == "__main__":
    main("schemathesis", "openai", "ollama")
