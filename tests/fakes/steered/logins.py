"""Logins at older versions, and how often it refused a key."""

from werkzeug.datastructures import Headers

from exporter.simulator.logins import LOCAL, Logins, Refusal, client_address


class SteeredLogins(Logins):
    """``bans_local``: whether it also bans callers of its own machine."""

    bans_local = True
    refused_logins = 0

    def check(self, headers: Headers, peer: str) -> Refusal | None:
        refusal, address = super().check(headers, peer), client_address(headers, peer)
        if refusal is not None and refusal[0] == 401:
            with self._lock:
                self.refused_logins += 1
                if address in LOCAL and not self.bans_local:
                    self._addresses[address].banned_until = None
        return refusal
