"""Put the deployments and the work pool in place on a server; what is there already is brought up to date."""

import contextlib
import threading
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module, resources
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, ConfigDict, SecretStr
from ruamel.yaml import YAML

from flows.run_names import run_name
from flows.runs import character_of, open_run
from flows.wanted import POOL

_POOL_TYPE = "process"
# A run may set nothing about how it is started. Prefect's own template offers command, environment and folder.
TEMPLATE = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


class Interval(BaseModel):
    """A schedule: every so many seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval: int


class Pool(BaseModel):
    """The work pool that runs go to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


class Limit(BaseModel):
    """How many runs at once, and what becomes of one too many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int
    collision_strategy: ConcurrencyLimitStrategy


class Declared(BaseModel):
    """A deployment as prefect.yaml declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    work_pool: Pool
    schedules: tuple[Interval, ...] = ()
    concurrency_limit: Limit | None = None

    def flow(self) -> Flow[..., object]:
        """The flow behind its entry point."""
        module, _, name = self.entrypoint.rpartition(".")
        found = getattr(import_module(module), name)
        if not isinstance(found, Flow):
            raise TypeError(f"{self.entrypoint} is no flow")
        return found


def declared() -> tuple[Declared, ...]:
    """Everything in deployments/prefect.yaml."""
    text = resources.files("deployments").joinpath("prefect.yaml").read_text("utf-8")
    return tuple(Declared.model_validate(one) for one in YAML(typ="safe").load(text)["deployments"])


def put_in_place(client: SyncPrefectClient, presets: tuple[str, ...] = (), *, add: bool = False) -> None:
    """The work pool and every deployment; a second time changes nothing that a person set.

    Args:
        client: of the server.
        presets: names that the forms offer.
        add: offer them beside those that the server has, of whoever deployed before.
    """
    _pool(client)
    for one in reversed(declared()):  # the most used one last: the UI's list can be sorted by when they were created
        _deploy(client, one, presets, add=add)


def _pool(client: SyncPrefectClient) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type=_POOL_TYPE, base_job_template=TEMPLATE))
    except ObjectAlreadyExists:
        if client.read_work_pool(POOL).type == _POOL_TYPE:
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=TEMPLATE))


def form_of(flow: Flow[..., Any], presets: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of a flow's form, in which a preset is chosen and not typed."""
    schema = parameter_schema(flow).model_dump_for_openapi()
    if preset := schema["properties"].get("preset"):
        # The form's own default stays a choice: empty, or a preset that nobody has made yet.
        preset["enum"] = list(dict.fromkeys((preset["default"], *presets)))
    return schema


def _offered(schema: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple((schema or {}).get("properties", {}).get("preset", {}).get("enum", ()))


def _deploy(client: SyncPrefectClient, one: Declared, presets: tuple[str, ...], *, add: bool) -> None:
    flow = one.flow()
    try:
        there = client.read_deployment_by_name(f"{flow.name}/{one.name}")
    except ObjectNotFound:
        limit = one.concurrency_limit
        client.create_deployment(
            flow_id=client.create_flow_from_name(flow.name),
            name=one.name,
            entrypoint=one.entrypoint,
            description=one.description,
            tags=list(one.tags),
            work_pool_name=one.work_pool.name,
            parameter_openapi_schema=form_of(flow, presets),
            enforce_parameter_schema=True,
            schedules=[
                DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=s.interval)))
                for s in one.schedules
            ],
            concurrency_limit=limit.limit if limit else None,
            concurrency_options=ConcurrencyOptions(collision_strategy=limit.collision_strategy) if limit else None,
        )
        return
    known = _offered(there.parameter_openapi_schema) if add else ()
    client.update_deployment(
        there.id,
        DeploymentUpdate(
            entrypoint=one.entrypoint,
            description=one.description,
            tags=list(one.tags),
            work_pool_name=one.work_pool.name,
            parameter_openapi_schema=form_of(flow, tuple(dict.fromkeys((*presets, *known)))),
            enforce_parameter_schema=True,
            # What would run other code, had somebody set it: a worker of ours refuses runs of such a deployment.
            job_variables={},
            pull_steps=[],
            path=None,
            storage_document_id=None,
            infrastructure_document_id=None,
        ),
    )


def as_client(address: str, password: str = "") -> contextlib.AbstractContextManager[object]:
    """Prefect's client settings for a server, for the length of a block.

    Args:
        address: of its API.
        password: `user:password`, if it has one.
    """
    settings: dict[Any, object] = {PREFECT_API_URL: address}
    if password:
        settings[PREFECT_API_AUTH_STRING] = SecretStr(password)
    return temporary_settings(settings)


def start_character(
    client: SyncPrefectClient, parameters: Mapping[str, object], key: str, tag: str, flow: str = "train-character"
) -> FlowRun:
    """Schedule a run and return at once; a second call with the same key returns the first one's run.

    So does one while a run of the character is open, unless it forces steps: no character is trained twice at once.

    Args:
        client: of the server.
        parameters: as in the form.
        key: of this start.
        tag: says who started it.
        flow: whose form it is, one of `TRAINING`.
    """
    with _one_at_a_time:
        known = None if parameters.get("force") else open_run(client, character_of(parameters))
        return known or start(client, flow, parameters, key, tag)


_one_at_a_time = threading.Lock()  # two browsers ask at once


def start(client: SyncPrefectClient, flow: str, parameters: Mapping[str, object], key: str, tag: str) -> FlowRun:
    """Schedule a run of a deployment, as no sub-flow of the caller: it can be suspended and retried by itself."""
    deployment, name = client.read_deployment_by_name(f"{flow}/{flow}"), run_name(flow, parameters) or None
    return client.create_flow_run_from_deployment(
        deployment.id, parameters=dict(parameters), idempotency_key=key, tags=[tag], name=name
    )
