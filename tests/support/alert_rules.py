"""The alert rules of `deploy/prometheus/alerts.yml`, read and evaluated on pages of metrics.

What is evaluated is what those rules use of Prometheus's language: a series with matchers, its
increase between two pages, or the time since it, compared with a number.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from attrs import frozen
from metric_pages import Samples
from page_session import ROOT

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"

EXPRESSION = re.compile(
    r"(?P<since>time\(\) - )?(?P<increase>increase\()?(?P<name>\w+)"
    r"(?:\{(?P<matchers>[^}]*)\})?(?:\[\w+\])?\)? (?P<comparison>>|<|==) (?P<number>[\d.]+)"
)
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


@frozen
class Rule:
    """One alert.

    Args:
        name: Its name.
        expression: When it fires.
        document: All that the file says of it.
    """

    name: str
    expression: str
    document: Mapping[str, Any]

    @property
    def parts(self) -> Mapping[str, str | None]:
        """The parts of its expression."""
        found = EXPRESSION.fullmatch(self.expression)
        assert found, f"{self.name}: {self.expression} is beyond what is evaluated here"
        return found.groupdict()

    @property
    def matchers(self) -> list[tuple[str, str, str]]:
        """Label, comparison and value of each matcher."""
        return MATCHER.findall(self.parts["matchers"] or "")

    def fires(self, now: Samples, before: Samples | None = None, *, at: float = 0.0) -> bool:
        """Tell whether it fires.

        Args:
            now: A page.
            before: The page before; an increase is counted from there, and of series that are
                new there is none, as Prometheus has it.
            at: The time of the page, in Unix seconds.
        """
        parts = self.parts
        compare = COMPARISONS[str(parts["comparison"])]
        for (name, labels), value in now.items():
            if name != parts["name"] or not self._matches(dict(labels)):
                continue
            if parts["increase"]:
                value -= (before or {}).get((name, labels), value)
            if parts["since"]:
                value = at - value
            if compare(value, float(str(parts["number"]))):
                return True
        return False

    def _matches(self, labels: Mapping[str, str]) -> bool:
        return all(
            re.fullmatch(value if kind == "=~" else re.escape(value), labels.get(label, ""))
            for label, kind, value in self.matchers
        )


def rules() -> Iterator[Rule]:
    """Return all rules."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield Rule(rule["alert"], rule["expr"], rule)


def firing(now: Samples, before: Samples | None = None, *, at: float = 0.0) -> set[str]:
    """Return the names of the alerts that fire."""
    return {rule.name for rule in rules() if rule.fires(now, before, at=at)}
