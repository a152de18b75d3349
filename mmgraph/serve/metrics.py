"""Counters in the text format of Prometheus."""

from __future__ import annotations

import bisect
import resource
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Metrics:
    """What was asked, how long it took, what was written."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._times: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Notes one request of a route."""
        self.requests[method, path, status] += 1
        counts = self._times.get(path)
        if counts is None:
            counts = self._times[path] = [0] * (len(BUCKETS) + 1)
        counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]  # a Counter adds floats as well

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it; ``gauges`` are values of this moment by name."""
        lines = ["# TYPE mmgraph_requests_total counter"]
        lines += [
            f'mmgraph_requests_total{{method="{method}",route="{path}",status="{status}"}} {count}'
            for (method, path, status), count in sorted(self.requests.items())
        ]
        lines.append("# TYPE mmgraph_request_seconds histogram")
        for path, counts in sorted(self._times.items()):
            total = 0
            for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                total += count
                lines.append(f'mmgraph_request_seconds_bucket{{route="{path}",le="{bound}"}} {total}')
            lines.append(f'mmgraph_request_seconds_sum{{route="{path}"}} {self._seconds[path]:.6f}')
            lines.append(f'mmgraph_request_seconds_count{{route="{path}"}} {total}')
        for name, counter, label in (
            ("mmgraph_fallbacks_total", self.fallbacks, "reason"),
            ("mmgraph_events_total", self.events, "result"),
        ):
            lines.append(f"# TYPE {name} counter")
            lines += [f'{name}{{{label}="{key}"}} {count}' for key, count in sorted(counter.items())]
        for name, value in gauges.items():
            lines += [f"# TYPE mmgraph_{name} gauge", f"mmgraph_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory of this process that is in use now; the highest so far where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
