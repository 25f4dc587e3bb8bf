"""What a provider reported about an account besides its windows. Pure."""

import msgspec

from exporter.quotas.asking import Balance, Report


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The last known value of each field of ``Report``. ``elsewhere_ms`` dates the share, in ms since the epoch."""

    plan: str = ""
    balances: tuple[Balance, ...] = ()
    reset_credits: int | None = None
    elsewhere_ratio: float | None = None
    elsewhere_ms: int = 0

    def after(self, report: Report, *, now_ms: int) -> "Told":
        """The values after one more answer: what it leaves out stays as it was."""
        says_share = report.elsewhere_ratio is not None
        return Told(
            plan=report.plan or self.plan,
            balances=report.balances or self.balances,
            reset_credits=self.reset_credits if report.reset_credits is None else report.reset_credits,
            elsewhere_ratio=report.elsewhere_ratio if says_share else self.elsewhere_ratio,
            elsewhere_ms=now_ms if says_share else self.elsewhere_ms,
        )
