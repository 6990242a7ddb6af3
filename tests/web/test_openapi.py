"""The OpenAPI document: valid, whole, its examples accepted; errors by their codes; 304."""

import asyncio
import json
import re
from typing import Any, cast

import httpx
import jsonschema
import pytest
from api_server import NO_MONITORING, NO_RECEIPTS, StubService, no_verification, nothing
from sanic import Sanic

from prover_framework.callers.service import Callers
from prover_framework.errors import GroupNotFound, RequestError
from prover_framework.jobs.feed import EventFeed
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.charts import ChartService
from prover_framework.web.app import make_app
from prover_framework.web.openapi.document import PROBLEM_TYPE

SUBMITTED = "/api/job"


def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_document_is_valid(client: httpx.Client) -> None:
    validators = pytest.importorskip("openapi_spec_validator", reason="the lowest versions lack it")
    validators.OpenAPIV31SpecValidator(document(client)).validate()


def test_it_has_each_address_of_the_api_and_no_other(client: httpx.Client) -> None:
    """A row of `prover_framework.web.openapi.operations` is missing, or too many."""
    paths = {
        (path, method.upper())
        for path, methods in document(client)["paths"].items()
        for method in methods
    }
    assert paths == api_routes()


def api_routes() -> set[tuple[str, str]]:
    async def routes() -> set[tuple[str, str]]:
        feed = cast(EventFeed, object())
        app = make_app(
            StubService(nothing),
            NO_RECEIPTS,
            no_verification(),
            NO_MONITORING,
            cast(Callers, object()),
            charts=cast(ChartService, object()),
            feed=feed,
        )
        try:
            return {
                (re.sub("<([a-z_]+)[^>]*>", r"{\1}", f"/{route.path}"), method)
                for route in app.router.routes
                for method in route.methods - {"HEAD"}
            }
        finally:
            Sanic.unregister_app(app)

    return asyncio.run(routes())


def test_the_example_is_a_request_that_is_taken_in(client: httpx.Client) -> None:
    found = json.loads(client.get("/openapi.json").text)
    content = found["paths"][SUBMITTED]["post"]["requestBody"]["content"]["application/json"]
    example = content["examples"]["required"]["value"]
    reference = content["schema"]["$ref"].removeprefix("#/")
    whole = {"$ref": f"#/{reference}", "components": found["components"]}
    jsonschema.Draft202012Validator(whole).validate(example)
    assert client.post(SUBMITTED, json=example).json()["status"] == "success"


def test_a_request_that_the_api_refuses_is_none_by_the_document(
    client: httpx.Client, installed: Plugins
) -> None:
    found = json.loads(client.get("/openapi.json").text)
    whole = {"$ref": "#/components/schemas/GroupRequest", "components": found["components"]}
    check = jsonschema.Draft202012Validator(whole).is_valid
    name = min(installed.proof_types)
    for request in ({}, {"job_group_id": "a b"}, {"job_group_id": "a", name: {"window": 1}}):
        assert not check(request)
        assert client.post(SUBMITTED, json=request).status_code == 400


def test_an_error_has_its_code_and_the_places_of_problems_for_who_asks(
    client: httpx.Client,
) -> None:
    plain = client.post(SUBMITTED, json={"job_group_id": "a b"})
    assert plain.headers["error-code"] == RequestError.code
    assert set(plain.json()) == {"status", "message", "job_group_id"}

    named = client.post(SUBMITTED, json={"job_group_id": "a b"}, headers={"Accept": PROBLEM_TYPE})
    assert named.headers["content-type"] == PROBLEM_TYPE
    problem = named.json()
    assert (problem["status"], problem["code"]) == (400, RequestError.code)
    assert {each["where"] for each in problem["problems"]} >= {"job_group_id", "twap"}

    missing = client.get("/api/job/nobody", headers={"Accept": PROBLEM_TYPE}).json()
    assert missing["code"] == GroupNotFound.code


def test_what_does_not_change_is_sent_once(client: httpx.Client) -> None:
    for path in ("/openapi.json", "/api/proof-types"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        other = client.get(path, headers={"If-None-Match": '"another"'})
        assert other.status_code == 200
