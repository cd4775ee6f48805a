//! Kills processes and starts them again, and has them stand still for longer than their leases.

use std::time::Duration;

use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use super::record::{Act, Phase, Recorder};
use crate::books::Books;
use crate::fleet::Member;

/// From one fault to the next, in milliseconds.
const BETWEEN: std::ops::Range<u64> = 200..900;
/// How long a killed process stays dead, in milliseconds.
const DEAD: std::ops::Range<u64> = 0..700;
/// How long a process stands still, in milliseconds: the job service's lease is two seconds.
const STILL: std::ops::Range<u64> = 300..3200;

pub struct Nemesis {
    pub members: Vec<Member>,
    pub books: Books,
    pub recorder: Recorder,
    pub dice: Rng,
}

impl Nemesis {
    /// Does harm until it is enough, then mends everything. Gives itself back.
    pub async fn rage(mut self, enough: CancellationToken) -> Self {
        while enough.run_until_cancelled(pause(self.dice.u64(BETWEEN))).await.is_some() {
            let victim = self.dice.usize(0..self.members.len());
            if self.dice.bool() {
                self.kill(victim).await;
            } else {
                self.hold(victim).await;
            }
        }
        for member in &mut self.members {
            member.serves().await;
        }
        self
    }

    async fn kill(&mut self, victim: usize) {
        let dead = self.dice.u64(DEAD);
        let member = &mut self.members[victim];
        let fault = self.recorder.invoke(Act::Fault { what: format!("kill {}", member.address) });
        member.kill();
        pause(dead).await;
        member.launch();
        fault.ends(Phase::Ok);
    }

    async fn hold(&mut self, victim: usize) {
        let (still, lapse) = (self.dice.u64(STILL), self.dice.bool());
        let member = &self.members[victim];
        let fault = self.recorder.invoke(Act::Fault { what: format!("hold {}", member.address) });
        member.pause();
        pause(still / 2).await;
        if lapse {
            // Payment's leases are half a minute: as long does it stand still, as far as they are concerned.
            self.books.end_leases().await;
        }
        pause(still / 2).await;
        member.resume();
        fault.ends(Phase::Ok);
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
