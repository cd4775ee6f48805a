//! The acceptance scenarios of the job engine, at the size at which they were written down.
//!
//! | number | scenario | where |
//! |---|---|---|
//! | 1 | `kill -9` in the middle of a section | `killed` |
//! | 2 | a zombie returns | `zombie` |
//! | 3 | the same identity restarts | `killed` |
//! | 4 | the database restarts | `outage` |
//! | 5, 6 | a poison job, a poison payload | `poison` |
//! | 7, 8 | a cancellation during a stream, and one that races the completion | `cancelled` |
//! | 9, 10 | fairness, and limits under crashes | `turns` |
//! | 11 | one job for each payment | `replicas` |
//! | 12 | one refund | `crates/quire/tests/it/sweep` |
//! | 13 | drain | `replicas` |

mod cancelled;
mod killed;
mod outage;
mod poison;
mod ready;
mod replicas;
mod turns;
mod zombie;
