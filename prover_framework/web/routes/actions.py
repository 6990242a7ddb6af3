"""What operators do with groups over HTTP: cancel, redrive, delete."""

from typing import Any

import attrs
from attrs import fields
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.jobs.service import ProvingService
from prover_framework.model.actions import Action, ActionReport, ManyGroups, OneGroup
from prover_framework.model.listing import parse_query
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.web.auth import group_of, namespace_listed

OPTIONS = {field.name for field in fields(OneGroup)}


def add_action_routes(app: "Sanic[Any, Any]") -> None:
    """Add what operators do with one group, and with all that a filter finds."""
    for action in Action:
        app.add_route(
            _on_group(action),
            f"/api/job/<group_id>/{action}",
            methods=["POST"],
            unquote=True,
            name=f"{action}_group",
        )
        app.add_route(
            _on_found(action), f"/api/jobs/{action}", methods=["POST"], name=f"{action}_groups"
        )


def _on_group(action: Action) -> Any:
    async def act(request: Request, group_id: str) -> HTTPResponse:
        service: ProvingService = request.app.ctx.service
        key = group_of(request, group_id)
        wanted = structure(parse_json(request.body), OneGroup) if request.body else OneGroup()
        return _report(
            await service.actions.on_group(
                action, key, wanted.job_id, dry_run=wanted.dry_run, force=wanted.force
            )
        )

    return act


def _on_found(action: Action) -> Any:
    async def act(request: Request) -> HTTPResponse:
        service: ProvingService = request.app.ctx.service
        wanted = structure(parse_json(request.body), ManyGroups)
        filters = {
            field.name: [str(value)]
            for field in fields(ManyGroups)
            if field.name not in OPTIONS and (value := getattr(wanted, field.name)) is not None
        }
        return _report(
            await service.actions.on_found(
                action,
                attrs.evolve(parse_query(filters), namespace=namespace_listed(request)),
                dry_run=wanted.dry_run,
                force=wanted.force,
            )
        )

    return act


def _report(report: ActionReport) -> HTTPResponse:
    return HTTPResponse(dump_json(unstructure(report)), content_type="application/json")
