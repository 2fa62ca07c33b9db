# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of a server: the addresses it has, the model it serves, the refusals it gives."""

import math
from collections.abc import Iterable
from typing import Any

from edgeshift import __version__
from edgeshift.serve.codes import REFUSALS
from edgeshift.serve.model import Model
from edgeshift.serve.ports import DATATYPES, Port
from edgeshift.serve.service import Service

Schema = dict[str, Any]
# Any request may meet these, whatever its address.
ALWAYS = ("path_too_long", "headers_too_large", "read_timeout", "busy", "bad_http", "internal")
BODY = ("bad_json", "too_deep", "body_too_large", "unsupported_encoding", "read_timeout", "bad_request")
INFER = (
    *BODY, "bad_header_length", "missing_input", "unknown_input", "duplicate_input", "wrong_datatype",
    "wrong_shape", "wrong_size", "out_of_range", "not_finite", "unknown_output", "duplicate_output",
    "bad_parameter", "unsupported", "unreachable_accuracy", "bad_input", "not_finite_output", "unknown_model",
    "unknown_version", "deadline", "queue_full", "not_ready", "shutting_down", "timeout", "variant_failed",
)  # fmt: skip
OF_MODEL = ("unknown_model",)
OF_VERSION = ("unknown_model", "unknown_version")
READY = ("not_ready", "shutting_down")
CALL = (*BODY, "unauthorized")


def document(service: Service) -> Schema:
    """The document, as JSON values."""
    model = service.model
    paths = {**reading(model), **inference(model), **pages()}
    components: Schema = {"schemas": schemas(model)}
    if service.token is not None:
        paths |= management(model)
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EdgeShift",
            "version": __version__,
            "summary": "A portfolio of variants behind the Open Inference Protocol.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


def ref(name: str) -> Schema:
    """A schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(properties: Schema, required: Iterable[str] = (), **more: Any) -> Schema:
    """An object; every property is required unless others are named."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required) or sorted(properties),
        **more,
    }


def content(schema: Schema, kind: str = "application/json") -> Schema:
    """A body of one kind."""
    return {kind: {"schema": schema}}


def responses(ok: Schema, codes: Iterable[str] = ()) -> Schema:
    """An answer and the refusals that an address may give, by status."""
    found: Schema = {"200": ok}
    by_status: dict[int, list[str]] = {}
    for code in sorted({*codes, *ALWAYS}):
        by_status.setdefault(REFUSALS[code].status, []).append(code)
    for status, names in sorted(by_status.items()):
        schema = record({"error": {"type": "string"}, "code": {"type": "string", "enum": names}})
        one: Schema = {
            "description": "; ".join(f"{name}: {REFUSALS[name].text}" for name in names),
            "content": content(schema),
        }
        if any(REFUSALS[name].retry_after_s for name in names):
            one["headers"] = {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}}}
        found[str(status)] = one
    return found


def get(name: str, summary: str, ok: Schema, codes: Iterable[str] = (), **more: Any) -> Schema:
    """A GET that gives JSON."""
    body = {"description": summary, "content": content(ok)}
    return {"get": {"operationId": name, "summary": summary, "responses": responses(body, codes), **more}}


def parameter(name: str, values: Iterable[str]) -> Schema:
    """A part of the path that is one of a few names."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": list(values)}}


def places(model: Model) -> dict[str, tuple[str, list[Schema], tuple[str, ...]]]:
    """The two ways to name the model: suffix of operation ids -> path, its parameters, its refusals."""
    name = parameter("model", [model.name])
    version = parameter("version", model.versions)
    return {
        "": ("/v2/models/{model}", [name], OF_MODEL),
        "_version": ("/v2/models/{model}/versions/{version}", [name, version], OF_VERSION),
    }


def reading(model: Model) -> Schema:
    """Health and metadata."""
    server = record(
        {
            "name": {"const": "edgeshift"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        }
    )
    names = record({"models": {"type": "array", "items": {"const": model.name}}})
    paths = {
        "/v2": get("server_metadata", "Name, version and extensions", server),
        "/v2/health/live": get("live", "Whether it answers", record({"live": {"const": True}})),
        "/v2/health/ready": get(
            "ready", "Whether a request is taken", record({"ready": {"const": True}}), READY
        ),
        "/v2/models": get("models", "The models, always one", names),
    }
    for suffix, (path, parameters, codes) in places(model).items():
        about = get(f"model_metadata{suffix}", "Inputs, outputs, versions", ref("Model"), codes)
        ready = get(
            f"model_ready{suffix}", "Whether it answers", record({"ready": {"const": True}}), (*codes, *READY)
        )
        paths[path] = {**about, "parameters": parameters}
        paths[f"{path}/ready"] = {**ready, "parameters": parameters}
    return paths


def inference(model: Model) -> Schema:
    """The two addresses that answer."""
    answer: Schema = {
        "description": "Outputs, and the variant and generation that gave them",
        "content": {
            **content(ref("Answer")),
            **content({"type": "string", "format": "binary"}, "application/octet-stream"),
        },
        "headers": {
            "Inference-Header-Content-Length": {
                "description": "Bytes of JSON in front of raw tensors; absent where all is JSON",
                "schema": {"type": "string", "pattern": "^[0-9]+$"},
            }
        },
    }
    paths: Schema = {}
    for suffix, (path, parameters, codes) in places(model).items():
        paths[f"{path}/infer"] = {
            "parameters": parameters,
            "post": {
                "operationId": f"infer{suffix}",
                "summary": "Answer a request; without a version the policy chooses the variant",
                "description": "A body of application/octet-stream is JSON followed by raw little-endian "
                "tensors; the header Inference-Header-Content-Length says where the JSON ends.",
                "requestBody": {"required": True, "content": content(ref("Request"))},
                "responses": responses(answer, (*INFER, *codes)),
            },
        }
    return paths


def pages() -> Schema:
    """What is for people and for monitoring."""
    text = {"type": "string"}
    found: Schema = {
        "/openapi.json": get("openapi", "This document", {"type": "object"}),
        "/dashboard/data": get(
            "dashboard_data",
            "What the dashboard shows",
            {"type": "object"},
            ["bad_query"],
            parameters=[since()],
        ),
    }
    for path, kind, says in (
        ("/metrics", "text/plain", "Counts for Prometheus"),
        ("/dashboard", "text/html", "The dashboard"),
    ):
        ok = {"description": says, "content": content(text, kind)}
        found[path] = {"get": {"operationId": path[1:], "summary": says, "responses": responses(ok)}}
    moved = responses({})
    moved.pop("200")
    moved["307"] = {"description": "The dashboard", "headers": {"Location": {"schema": text}}}
    found["/"] = {"get": {"operationId": "root", "summary": "Leads to the dashboard", "responses": moved}}
    return found


def since() -> Schema:
    """The number of the last switch that the client knows."""
    schema = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
    return {"name": "since", "in": "query", "required": False, "schema": schema}


def management(model: Model) -> Schema:
    """The calls behind the token."""
    locked: Schema = {"security": [{"token": []}]}
    state = record(
        {
            "active": {"enum": list(model.versions)},
            "pinned": {"enum": [*model.versions, None]},
            "generation": {"type": "integer"},
        }
    )
    which = record({"variant": {"enum": list(model.versions)}}, additionalProperties=False)
    none: Schema = {"type": "object", "additionalProperties": False}
    calls = {
        "switch": (
            "One step to a variant; the policy may move on",
            which,
            ("unknown_version", "unavailable"),
        ),
        "pin": ("Stay on a variant", which, ("unknown_version", "unavailable")),
        "unpin": ("Let the policy choose", none, ()),
        "reload": ("Open the portfolio on disk", none, ("bad_portfolio", "too_old")),
        "rollback": ("Open the generation before", none, ("bad_portfolio", "nothing_before", "too_old")),
    }
    event = record({"number": {"type": "integer"}, "cause": {"type": "string"}})
    found = {
        "/manage/events": get(
            "events",
            "The switches after a number",
            record({"events": {"type": "array", "items": event}}),
            ("unauthorized", "bad_query"),
            parameters=[since()],
            **locked,
        )
    }
    for word, (says, schema, codes) in calls.items():
        ok = {"description": says, "content": content(state)}
        found[f"/manage/{word}"] = {
            "post": {
                "operationId": word,
                "summary": says,
                "requestBody": {"required": schema is which, "content": content(schema)},
                "responses": responses(ok, (*CALL, *codes)),
                **locked,
            }
        }
    return found


def schemas(model: Model) -> Schema:
    """The values that several addresses share."""
    port = record(
        {
            "name": {"type": "string"},
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        }
    )
    version = {"type": "array", "items": {"enum": list(model.versions)}}
    parameters = {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}}
    tensor = record(
        {**port["properties"], "data": {"type": "array"}, "parameters": parameters},
        ["name", "datatype", "shape"],
    )
    return {
        "Model": record(
            {
                "name": {"const": model.name},
                "versions": version,
                "platform": {"type": "string"},
                "inputs": {"type": "array", "items": port},
                "outputs": {"type": "array", "items": port},
            }
        ),
        "Request": request(model),
        "Answer": record(
            {
                "model_name": {"const": model.name},
                "model_version": {"enum": list(model.versions)},
                "id": {"type": "string"},
                "parameters": record({"generation": {"type": "integer"}, "variant_id": {"type": "string"}}),
                "outputs": {"type": "array", "items": tensor},
            },
            ["model_name", "model_version", "outputs", "parameters"],
        ),
    }


def request(model: Model) -> Schema:
    """A request in JSON alone. One input of each name; the sizes that JSON Schema can express are exact."""
    output = record(
        {
            "name": {"enum": [port.name for port in model.outputs]},
            "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
        },
        ["name"],
    )
    count = len(model.inputs)
    positive: Schema = {"type": "number", "minimum": 1e-3, "maximum": 1e9}
    parameters: Schema = {
        "binary_data_output": {"type": "boolean"},
        "deadline_ms": positive,
        "timeout": {**positive, "minimum": 1},
        "min_accuracy": {"type": "number", "minimum": 0, "maximum": 1},
    }
    return record(
        {
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": parameters},
            "inputs": {
                "type": "array",
                "prefixItems": [tensor(port) for port in model.inputs],
                "minItems": count,
                "maxItems": count,
            },
            "outputs": {"type": "array", "items": output, "maxItems": len(model.outputs)},
        },
        ["inputs"],
    )


def tensor(port: Port) -> Schema:
    """One input as JSON; its shape and the length of its data belong together, which no schema can say."""
    sizes = [{"const": s} if s is not None else {"type": "integer", "minimum": 1} for s in port.shape]
    kinds: dict[str, Schema] = {"b": {"type": "boolean"}, "f": {"type": "number"}}
    value = kinds.get(port.dtype.kind, {"type": "integer"})
    least = math.prod(size or 1 for size in port.shape)
    data: Schema = {"type": "array", "items": value, "minItems": least}
    if len(port.shape) > 1:
        data = {"anyOf": [data, nested(value, port)]}
    return record(
        {
            "name": {"const": port.name},
            "datatype": {"const": port.datatype},
            "shape": {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)},
            "data": data,
        }
    )


def nested(value: Schema, port: Port) -> Schema:
    """Lists in lists, as the shape says."""
    for size in reversed(port.shape):
        value = {"type": "array", "items": value, "minItems": size or 1}
        if size is not None:
            value["maxItems"] = size
    return value
