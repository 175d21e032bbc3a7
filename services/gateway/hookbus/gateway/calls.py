"""What the routes of the API are made of: the caller's scope, a strictly read body, and its OpenAPI text."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ValidationError

from hookbus.contracts import fields, limits
from hookbus.contracts.session import KeyScope
from hookbus.gateway import bodies
from hookbus.gateway.auth import Principal
from hookbus.gateway.problems import invalid
from hookbus.gateway.state import State, state_of

ModelT = TypeVar("ModelT", bound=BaseModel)

StateOf = Annotated[State, Depends(state_of)]

REQUEST_MODELS: Final[dict[str, type[BaseModel]]] = {}
"""Models of request bodies by name: read by hand, so the OpenAPI document is told of them here."""


def require(scope: KeyScope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the caller, who holds ``scope``."""

    async def caller(request: Request) -> Principal:
        return await state_of(request).authenticator.principal(request, scope)

    return caller


def body(model: type[ModelT], *, optional: bool = False) -> Callable[[Request], Awaitable[ModelT]]:
    """A dependency: the request's body as ``model``; with ``optional`` no body is an empty object."""

    async def read(request: Request) -> ModelT:
        tree = await bodies.read_json(request, optional=optional)
        try:
            return model.model_validate(tree)
        except ValidationError as error:
            raise invalid(error) from None

    return read


def describes(
    model: type[BaseModel],
    *,
    optional: bool = False,
    media_types: tuple[str, ...] = (bodies.MEDIA_TYPE_JSON,),
    scope: KeyScope | None = None,
) -> dict[str, Any]:
    """The ``openapi_extra`` of a route whose body is ``model``."""
    REQUEST_MODELS[model.__name__] = model
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    extra: dict[str, Any] = {
        "requestBody": {"required": not optional, "content": {name: {"schema": reference} for name in media_types}}
    }
    return extra | (needs(scope) if scope is not None else {})


def needs(scope: KeyScope) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that wants ``scope``."""
    return {"security": [{"apiKey": []}], "x-hookbus-scope": scope.value}


EventSender = Annotated[Principal, Depends(require(KeyScope.EVENTS))]
BudgetReader = Annotated[Principal, Depends(require(KeyScope.BUDGET_READ))]
BudgetWriter = Annotated[Principal, Depends(require(KeyScope.BUDGET_WRITE))]
SessionKeeper = Annotated[Principal, Depends(require(KeyScope.SESSION))]
Auditor = Annotated[Principal, Depends(require(KeyScope.AUDIT))]
Admin = Annotated[Principal, Depends(require(KeyScope.ADMIN))]

PageItems = Annotated[int, Query(ge=1, le=limits.PAGE_ITEMS_MAX, alias="limit", description="Items in one page")]
Cursor = Annotated[fields.Cursor | None, Query(description="What the last page returned")]
