"""Series of NVIDIA cards. No card is here: pynvml's calls are answered by a stand-in.

It does not prove that a real driver answers so; that needs a host with a card.
"""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest
from face_pipeline.telemetry.gpu import GpuCollector
from prometheus_client import CollectorRegistry

CARDS = ("GPU-a", "GPU-b")


@pytest.fixture
def two_cards_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(CARDS),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: CARDS[handle],
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=10 + handle, total=100),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=30 + handle),
        "nvmlDeviceGetTemperature": lambda handle, sensor: 50 + handle + sensor,
        "nvmlDeviceGetPowerUsage": lambda handle: 200_000 + handle * 1000,
    }.items():
        monkeypatch.setattr(pynvml, name, answer)


def series() -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(GpuCollector())
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_a_host_without_a_driver_has_no_series() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert series() == {}
    else:
        pytest.skip("this host has an NVIDIA driver")


@pytest.mark.usefixtures("two_cards_stand_in")
@pytest.mark.parametrize(("visible", "cards"), [("", "01"), ("1", "1"), ("GPU-a", "0"), ("0, 1", "01")])
def test_a_worker_tells_of_the_cards_it_may_use(
    visible: str, cards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    wanted = {}
    for card in cards:
        wanted[f"face_recognition_gpu_utilization_percent['{card}']"] = 30 + int(card)
        wanted[f"face_recognition_gpu_memory_bytes['{card}', 'used']"] = 10 + int(card)
        wanted[f"face_recognition_gpu_memory_bytes['{card}', 'total']"] = 100
        wanted[f"face_recognition_gpu_temperature_celsius['{card}']"] = 50 + int(card)
        wanted[f"face_recognition_gpu_power_watts['{card}']"] = 200 + int(card)
    assert series() == wanted


@pytest.mark.usefixtures("two_cards_stand_in")
def test_a_slice_of_a_card_has_memory_and_no_utilisation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage"):
        monkeypatch.setattr(pynvml, name, refuse)
    assert {name.split("[")[0] for name in series()} == {"face_recognition_gpu_memory_bytes"}
