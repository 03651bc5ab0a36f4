"""What hangs behind a virtual meter: voltages, powers and energies that move plausibly.

In:  a random.Random (the seed) and a time in seconds.
Out: {quantity: value}, by the names in tools/profiles.py.

A pure function of seed and time, so that a run can be repeated. Energies are the integrals of the powers
and only grow; active power = voltage x current x power factor on every phase, all signed.
"""

import cmath
import math


class Wave:
    """A value that swings around its base: base x (1 + depth x sin(2 pi t / period + phase)), depth < 1."""

    def __init__(self, rng, base, depth):
        self.base, self.depth = base, depth
        self.omega = 2 * math.pi / rng.uniform(20, 90)
        self.phase = rng.uniform(0, 2 * math.pi)

    def at(self, t):
        return self.base * (1 + self.depth * math.sin(self.omega * t + self.phase))

    def integral(self, t):
        """Of at() from 0 to t; never falls when base is positive, since depth is below 1."""
        swing = math.cos(self.phase) - math.cos(self.omega * t + self.phase)
        return self.base * (t + self.depth / self.omega * swing)


class Load:
    """Waves for each phase, and from them every quantity by its name in the profiles; and waves for the channels of a
    meter that measures many circuits."""

    def __init__(self, rng, phases, exporting, channels=0):
        self.frequency = Wave(rng, 50.0, 0.003)
        self.voltage = [Wave(rng, rng.uniform(228, 234), 0.01) for _ in range(phases)]
        self.active = [Wave(rng, rng.uniform(600, 1800), 0.3) for _ in range(phases)]
        self.reactive = [Wave(rng, wave.base * rng.uniform(0.2, 0.5), 0.3) for wave in self.active]
        self.sign = [-1 if phase in exporting else 1 for phase in range(phases)]
        # Counter readings at t = 0 in Wh and varh; small enough that a float32 in kWh moves every few
        # seconds.
        self.start = [
            {name: rng.uniform(1e5, 9e5) for name in ("wh_in", "wh_out", "varh_in", "varh_out")} for _ in range(phases)
        ]
        self.channels = [Wave(rng, rng.uniform(50, 2500), 0.4) for _ in range(channels)]
        self.channel_start = [rng.uniform(1e5, 9e5) for _ in range(channels)]

    def at(self, t):
        """{name: value in V, A, W, var, VA, Hz, Wh, varh, VAh} at t seconds."""
        volts = [wave.at(t) for wave in self.voltage]
        watts = [sign * wave.at(t) for sign, wave in zip(self.sign, self.active, strict=True)]
        vars_ = [wave.at(t) for wave in self.reactive]
        va = [math.hypot(p, q) for p, q in zip(watts, vars_, strict=True)]
        amps = [s / v for s, v in zip(va, volts, strict=True)]
        out = {"frequency": self.frequency.at(t)}
        self._phases(out, "voltage", volts, None)
        self._phases(out, "current", amps, "current_sum")
        self._phases(out, "active_power", watts, "active_power")
        self._phases(out, "reactive_power", vars_, "reactive_power")
        self._phases(out, "apparent_power", va, "apparent_power")
        self._phases(out, "power_factor", [p / s for p, s in zip(watts, va, strict=True)], None)
        out["power_factor"] = out["active_power"] / out["apparent_power"]
        out["voltage_ln_average"] = sum(volts) / len(volts)
        out["current_average"] = sum(amps) / len(amps)
        if len(volts) == 3:
            for a, b, name in ((0, 1, "voltage_l1_l2"), (1, 2, "voltage_l2_l3"), (2, 0, "voltage_l3_l1")):
                out[name] = math.sqrt(volts[a] ** 2 + volts[b] ** 2 + volts[a] * volts[b])  # 120 degrees apart
            out["voltage_ll_average"] = sum(out[f"voltage_{pair}"] for pair in ("l1_l2", "l2_l3", "l3_l1")) / 3
        lag = [
            cmath.rect(i, -2 * math.pi / 3 * n - math.atan2(q, p))
            for n, (i, p, q) in enumerate(zip(amps, watts, vars_, strict=True))
        ]
        out["current_neutral"] = abs(sum(lag))
        self._energies(out, t)
        for n, (wave, start) in enumerate(zip(self.channels, self.channel_start, strict=True), 1):
            out[f"active_power_ch{n}"] = wave.at(t)
            out[f"energy_total_ch{n}"] = start + wave.integral(t) / 3600
        return out

    def _energies(self, out, t):
        wh = [wave.integral(t) / 3600 for wave in self.active]
        varh = [wave.integral(t) / 3600 for wave in self.reactive]
        imports = [s["wh_in"] + (e if g > 0 else 0) for s, e, g in zip(self.start, wh, self.sign, strict=True)]
        exports = [s["wh_out"] + (e if g < 0 else 0) for s, e, g in zip(self.start, wh, self.sign, strict=True)]
        var_in = [s["varh_in"] + e for s, e in zip(self.start, varh, strict=True)]
        var_out = [s["varh_out"] for s in self.start]
        totals = [a + b for a, b in zip(imports, exports, strict=True)]
        var_totals = [a + b for a, b in zip(var_in, var_out, strict=True)]
        for name, values in (
            ("energy_import", imports),
            ("energy_export", exports),
            ("energy_total", totals),
            ("reactive_energy_import", var_in),
            ("reactive_energy_export", var_out),
            ("reactive_energy_total", var_totals),
        ):
            self._phases(out, name, values, name)
        out["apparent_energy"] = math.hypot(out["energy_total"], out["reactive_energy_total"])

    @staticmethod
    def _phases(out, name, values, total):
        for index, value in enumerate(values):
            out[f"{name}_l{index + 1}"] = value
        if total:
            out[total] = sum(values)
