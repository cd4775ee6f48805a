//! Checks the model in a size of choice, and prints what was found.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use quire_model::Handoff;
use quire_model::mutants::Mutant;
use quire_model::provider::Story;
use quire_model::state::Faults;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Checks the model of payment to job.
#[derive(Parser)]
struct Arguments {
    /// Orders that are paid at the same time.
    #[arg(long, default_value_t = 1)]
    orders: usize,
    /// Processes that die.
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// Events that arrive once more, though nobody lost anything.
    #[arg(long, default_value_t = 0)]
    repeats: u8,
    /// Answers that are lost.
    #[arg(long, default_value_t = 0)]
    losses: u8,
    /// Leases of outbox rows that run out while their holder lives.
    #[arg(long, default_value_t = 0)]
    lapses: u8,
    /// Leases of jobs that run out while their holder lives.
    #[arg(long, default_value_t = 0)]
    stalls: u8,
    /// Events that the provider stops to deliver.
    #[arg(long, default_value_t = 0)]
    give_ups: u8,
    /// Events that cannot be applied when they come.
    #[arg(long, default_value_t = 0)]
    failures: u8,
    /// Looks of the janitor for paid orders without a job.
    #[arg(long, default_value_t = 0)]
    looks: u8,
    /// Customers who get money back: 0 or 1.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    returns: u8,
    /// Do not ask the provider about orders that are not settled.
    #[arg(long)]
    no_sweeps: bool,
    /// What has happened at the provider. If not given: everything with one order, the first with more.
    #[arg(long)]
    story: Vec<Story>,
    /// Build the model with a mistake. If no faults are given: with those that show it.
    #[arg(long)]
    mutant: Option<Mutant>,
}

impl Arguments {
    fn model(self) -> Handoff {
        let faults = Faults {
            crashes: self.crashes,
            repeats: self.repeats,
            losses: self.losses,
            lapses: self.lapses,
            stalls: self.stalls,
            give_ups: self.give_ups,
            failures: self.failures,
            returns: self.returns,
            looks: self.looks,
        };
        let faults = match self.mutant {
            Some(mutant) if faults == Faults::NONE => mutant.faults(),
            _ => faults,
        };
        let stories = match (self.story.is_empty(), self.orders) {
            (false, _) => self.story,
            (true, 1) => Story::ALL.to_vec(),
            // All of them would not end today.
            (true, _) => vec![Story::ToldTwice],
        };
        Handoff { stories, sweeps: !self.no_sweeps, mutant: self.mutant, ..Handoff::new(self.orders, faults) }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let model = arguments.model();
    // One thread finds a short counterexample.
    let (threads, enough) = match model.mutant.and_then(Mutant::breaks) {
        Some(name) => (1, HasDiscoveries::AnyOf([name].into())),
        None => (std::thread::available_parallelism()?.get(), HasDiscoveries::AnyFailures),
    };
    let checker = model.checker().threads(threads).finish_when(enough).spawn_bfs().join();
    let found = checker.discoveries();
    let mut out = std::io::stdout().lock();
    writeln!(out, "unique states | {}", checker.unique_state_count())?;
    writeln!(out, "depth         | {}", checker.max_depth())?;
    let mut failed = false;
    for property in checker.model().properties() {
        let path = found.get(property.name);
        let verdict = match (property.expectation.clone(), path) {
            (Expectation::Sometimes, Some(_)) => "seen",
            (Expectation::Sometimes, None) => "NOT SEEN",
            (_, None) => "holds",
            (_, Some(_)) => "BROKEN",
        };
        failed |= verdict == verdict.to_uppercase();
        writeln!(out, "{verdict:13} | {}", property.name)?;
        if let Some(path) = path.filter(|_| property.expectation.discovery_is_failure()) {
            for action in path.clone().into_actions() {
                writeln!(out, "              |     {action:?}")?;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
