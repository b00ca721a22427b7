"""How busy and how full the NVIDIA cards of this process are, by NVML.

Where there is no card or no driver there is no series: an absent one says so, a zero would be a lie.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class GpuCollector(Collector):
    """`face_recognition_gpu_utilization_percent{gpu}`, `face_recognition_gpu_memory_bytes{gpu,type}`,
    `face_recognition_gpu_temperature_celsius{gpu}` and `face_recognition_gpu_power_watts{gpu}`.

    `gpu` is NVML's index of the card, which is CUDA's under CUDA_DEVICE_ORDER=PCI_BUS_ID. All workers of one
    card tell the same of it: aggregate by max.
    """

    def __init__(self) -> None:
        self.handles = dict(_visible())

    def collect(self) -> Iterator[Metric]:
        if not self.handles:
            return
        memory = _gauge("memory_bytes", "The card's memory, bytes.", "type")
        used = _gauge("utilization_percent", "Time the card was busy, 0 to 100.")
        heat = _gauge("temperature_celsius", "The card's temperature, degrees Celsius.")
        power = _gauge("power_watts", "What the card draws, watts.")
        for name, handle in self.handles.items():
            with _if_told():
                state = pynvml.nvmlDeviceGetMemoryInfo(handle)
                memory.add_metric([name, "used"], state.used)
                memory.add_metric([name, "total"], state.total)
            # A slice of a card (MIG) has memory of its own, and the rest is the whole card's.
            with _if_told():
                used.add_metric([name], pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with _if_told():
                heat.add_metric([name], pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
            with _if_told():
                power.add_metric([name], pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
        yield from (used, memory, heat, power)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"face_recognition_gpu_{name}", text, labels=["gpu", *labels])


@contextmanager
def _if_told() -> Iterator[None]:
    """Not every card tells everything; what it does not tell has no series."""
    try:
        yield
    except pynvml.NVMLError as error:
        log.debug("a card does not tell: %s", error, extra={"operation": "metrics"})


def _visible() -> Iterator[tuple[str, object]]:
    """NVML's handle of each card this process may use; none without a driver."""
    try:
        pynvml.nvmlInit()
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        wanted = [name.strip() for name in names if name.strip()]
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if not wanted or {str(index), pynvml.nvmlDeviceGetUUID(handle)} & set(wanted):
                yield str(index), handle
    except pynvml.NVMLError:
        return
