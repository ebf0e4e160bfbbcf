"""Turns operations of the OpenAPI document into routes: their scopes, errors and headers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import wraps

from chalice.app import Authorizer, Chalice, Request, Response

from chalicelib import telemetry
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.exact_json import Json
from chalicelib.http import authorizer, requests
from chalicelib.http.contract import OPERATIONS
from chalicelib.http.problems import NoSuchRouteError, problem_response
from chalicelib.http.responses import method_not_allowed, methods_of_path, readable
from chalicelib.usecases.ports import TokenVerifier

View = Callable[..., Response]


class CatalogApi(Chalice):
    """Chalice keeps the current request on the app; a host with threads needs one per thread."""

    _requests = threading.local()

    @property
    def current_request(self) -> Request:
        """The request that this thread is answering."""
        request: Request = self._requests.current
        return request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._requests.current = request

    def __call__(self, event: Json, context: object) -> Json:
        """Answer an event of API Gateway, and of the container host."""
        asked = event.get("requestContext", {})
        method, routes = asked.get("httpMethod"), self.routes.get(asked.get("resourcePath"))
        if routes is None and "resourcePath" in asked:
            return self._without_path()
        if routes is not None and method not in routes:
            if method != "HEAD" or "GET" not in routes:
                return self._without_operation(method, routes)
            # Answered as GET; the gateway leaves out the body.
            event = {**event, "requestContext": {**asked, "httpMethod": "GET"}}
        answer: Json = super().__call__(event, context)
        return answer

    def _without_path(self) -> Json:
        """Answer for a path of the release before: the gateway has it until its next deployment."""
        response = readable(problem_response(NoSuchRouteError("no such route")))
        answer: Json = response.to_dict(self.api.binary_types)
        return answer

    def _without_operation(self, method: str, routes: Collection[str]) -> Json:
        options = method == "OPTIONS"
        response = methods_of_path(routes) if options else method_not_allowed(method, routes)
        answer: Json = response.to_dict(self.api.binary_types)
        return answer

    def operation(
        self, method: str, path: str, gateway: Authorizer, tokens: Callable[[], TokenVerifier]
    ) -> Callable[[View], View]:
        """Register a view, called as `view(request, **path_parameters)`, for an operation.

        For an operation with scopes, API Gateway calls the authorizer `gateway`, and the app checks
        its context, or the token itself. Raises StopIteration if the document has no such
        operation.
        """
        operation = next(o for o in OPERATIONS if (o.method, o.path) == (method, path))

        def register(view: View) -> View:
            @wraps(view)
            def admitted(request: Request, **parameters: str) -> Response:
                if operation.scopes:
                    authorizer.admit(tokens(), operation, request)
                # Also where the view reads no query: no parameter is dropped silently.
                requests.query(request, operation.query)
                return view(request, **parameters)

            @wraps(view)
            def answer(**parameters: str) -> Response:
                return readable(_answered(admitted, self.current_request, parameters))

            registered: View = self.route(
                path,
                methods=[method],
                name=view.__name__,
                authorizer=gateway if operation.scopes else None,
                # Any content type: requests.body checks that the body is JSON.
                content_types=[],
            )(answer)
            return registered

        return register


def _answered(view: View, request: Request, parameters: dict[str, str]) -> Response:
    try:
        return view(request, **parameters)
    except CatalogError as error:
        telemetry.log.info("refused", reason=str(error), operation=view.__name__)
        return problem_response(error)
    except Exception as error:  # noqa: BLE001 - answered 500, and logged
        telemetry.log.exception("unexpected error", operation=view.__name__)
        return problem_response(error)
