"""Serves a steered proxy over HTTP and RESP on one port, with the faults that tests order."""

import threading
from typing import Any

from werkzeug import Request, Response

from exporter.simulator.server import USAGE, USAGE_QUEUE, DemoServer, Handler, HttpHandler, route_name
from tests.fakes.steered.delivery import Delivery, front_answer, huge_record
from tests.fakes.steered.faults import Fault, FaultKind
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.resp import RespSession, speaks_resp
from tests.fakes.steered.routes import SteeredRoutes, asked_count, is_mutating


class _FaultyRoutes(SteeredRoutes):
    def __init__(self, proxy: SteeredProxy, released: threading.Event) -> None:
        super().__init__(proxy)
        self._delivery = Delivery(proxy, released)

    def answer(self, call: Request) -> Response:
        name, version = route_name(call.path)
        self._proxy.note_request(name, mutating=version is not None and is_mutating(call.method, name))
        fault = self._proxy.take_fault(name, in_front=True)
        return super().answer(call) if fault is None else front_answer(fault)

    def _called(self, call: Request, name: str, handler: Handler) -> Response:
        proxy, count = self._proxy, asked_count(call.args.get("count", ""))
        if name == USAGE_QUEUE and count is None:
            return super()._called(call, name, handler)
        fault = proxy.take_fault(name, in_front=False)
        if name == USAGE_QUEUE and count is not None:
            items = [*proxy.inserted(_extra_elements(fault)), *proxy.pop(count)]
            body = b"[" + b",".join(item.raw for item in items) + b"]"
            return self._delivery.send(call, self.respond(200, body), items, fault)
        if name == USAGE:
            body, shown = proxy.shown_usage()
            if fault is not None and fault.kind is FaultKind.HUGE:
                body = body[:-1] + b',"padding":"' + b"x" * fault.size + b'"}'
            return self._delivery.send(call, self.respond(200, body), shown, fault)
        return self._delivery.send(call, super()._called(call, name, handler), [], fault)


def _extra_elements(fault: Fault | None) -> tuple[bytes, ...]:
    if fault is not None and fault.kind is FaultKind.INSERT:
        return fault.elements
    if fault is not None and fault.kind is FaultKind.HUGE:
        return (huge_record(fault.size),)
    return ()


class _SteeredHandler(HttpHandler):
    proxy: SteeredProxy
    connection_is_http = False

    def handle_one_request(self) -> None:
        """Answer a request; the first one decides whether the connection speaks RESP."""
        if not self.connection_is_http and speaks_resp(self.connection, self.proxy.version_number):
            self.close_connection = True
            RespSession(self.proxy, self.connection, self.client_address[0]).serve()
        else:
            self.connection_is_http = True
            super().handle_one_request()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The time for the header ``Date``: the proxy's."""
        return super().date_time_string(self.proxy.clock.now() if timestamp is None else timestamp)


class SteeredServer(DemoServer):
    """Serves a ``SteeredProxy`` as ``DemoServer`` serves a ``DemoProxy``."""

    def __init__(self, proxy: SteeredProxy, **address: Any) -> None:
        self.proxy = proxy
        self._released = threading.Event()
        self.handler = type("_HandlerOfOne", (_SteeredHandler,), {"proxy": proxy})
        super().__init__(proxy, routes=_FaultyRoutes(proxy, self._released), **address)

    def stop(self) -> None:
        """Release hanging answers and close the port. May be called twice."""
        self._released.set()
        self.proxy.subscribers.drop()
        super().stop()
