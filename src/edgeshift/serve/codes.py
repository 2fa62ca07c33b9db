# SPDX-License-Identifier: Apache-2.0
"""Every refusal of the server: a code that keeps its meaning, a status, one fixed sentence.

A sentence never holds a part of the request, a path or the text of an exception: what a server says about its
insides is what an attacker reads first.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """What a client is told.

    Attributes:
        status: HTTP status.
        text: One sentence.
        retry_after_s: When it makes sense to ask again; 0 = the same request will be refused again.
    """

    status: int
    text: str
    retry_after_s: int = 0


REFUSALS: dict[str, Refusal] = {
    "bad_http": Refusal(400, "request must be well-formed HTTP/1.1"),
    "bad_json": Refusal(400, "body must be one JSON object in UTF-8, without repeated keys, NaN or Infinity"),
    "too_deep": Refusal(400, "JSON must be nested no deeper than its tensors"),
    "bad_header_length": Refusal(
        400, "Inference-Header-Content-Length must be a whole number from 1 to the length of the body"
    ),
    "bad_request": Refusal(400, "fields must have the names and types of the Open Inference Protocol"),
    "missing_input": Refusal(400, "inputs must hold every input of the model"),
    "unknown_input": Refusal(400, "inputs must be inputs of the model"),
    "duplicate_input": Refusal(400, "inputs must be named once each"),
    "wrong_datatype": Refusal(400, "datatype must be the one the model takes"),
    "wrong_shape": Refusal(400, "shape must fit the model, with every size from 1"),
    "wrong_size": Refusal(400, "data must hold exactly as many values as the shape says"),
    "out_of_range": Refusal(400, "values must lie in the range of their datatype"),
    "not_finite": Refusal(400, "values must be finite"),
    "unknown_output": Refusal(400, "outputs must be outputs of the model"),
    "duplicate_output": Refusal(400, "outputs must be named once each"),
    "bad_parameter": Refusal(
        400, "deadline_ms and timeout must be numbers above 0, min_accuracy a number from 0 to 1"
    ),
    "unsupported": Refusal(
        400, "request must do without shared memory, classification, sequences and priorities"
    ),
    "bad_input": Refusal(400, "inputs must be what the model takes"),
    "not_finite_output": Refusal(400, "outputs must be finite to be written as JSON; ask for binary_data"),
    "bad_query": Refusal(400, "query must be what the document at /openapi.json says"),
    "unauthorized": Refusal(401, "Authorization must be Bearer and the token of this server"),
    "not_found": Refusal(404, "path must be one of those at /openapi.json"),
    "unknown_model": Refusal(404, "model must be the one at /v2/models"),
    "unknown_version": Refusal(404, "version must be a variant of the model"),
    "method_not_allowed": Refusal(405, "method must be one that the path allows"),
    "read_timeout": Refusal(408, "request must arrive within the read timeout"),
    "unreachable_accuracy": Refusal(409, "min_accuracy must be reached by a variant of the model"),
    "unavailable": Refusal(409, "the variant must be one that opens and is not in quarantine"),
    "nothing_before": Refusal(409, "there must be an earlier generation to go back to"),
    "too_old": Refusal(409, "the generation must not be below the smallest that this server accepts"),
    "bad_portfolio": Refusal(
        409, "the portfolio on disk must be whole and trusted; the old one still serves"
    ),
    "body_too_large": Refusal(413, "body must be no longer than the limit of this server"),
    "path_too_long": Refusal(414, "path and query must be no longer than the limit of this server"),
    "unsupported_encoding": Refusal(415, "body must come without a content encoding"),
    "deadline": Refusal(429, "deadline must be one that can be met at this load", 1),
    "queue_full": Refusal(429, "requests must fit the queue; it is full", 1),
    "headers_too_large": Refusal(431, "request line and headers must be no longer than the limit"),
    "internal": Refusal(500, "the server must not fail; it did, and its log says where"),
    "not_ready": Refusal(503, "the model must be ready; it is not yet", 1),
    "shutting_down": Refusal(503, "the server must be running; it is shutting down", 1),
    "busy": Refusal(503, "connections must be no more than the limit of this server", 1),
    "timeout": Refusal(503, "the answer must come within the request timeout; it did not", 1),
    "variant_failed": Refusal(503, "a variant must answer; none did in time", 1),
}
