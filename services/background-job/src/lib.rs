//! Durable jobs, leases, steps, writers and progress events.
