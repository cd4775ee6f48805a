//! Telemetry, health, reflection, deadlines and drain: every process starts through it.
