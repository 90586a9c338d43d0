//! A seeded simulator of the rules of tasks: random tasks, random events, crashes anywhere, and after every step the question whether
//! all that must hold does. `docs/simulator.md` tells what is simulated and how to read a failure.
//!
//! ```sh
//! cargo test -p taskhost-core --test simulator                   # some thousand seeds
//! SIM_SEEDS=100000 cargo test -p taskhost-core --test simulator  # so many
//! SIM_SECONDS=3600 cargo test -p taskhost-core --test simulator  # random ones, for so long
//! SIM_SEED=4711 cargo test -p taskhost-core --test simulator     # one, with its whole story
//! ```

mod check;
mod guest;
mod model;
mod oracle;
mod plan;
mod policy;
mod random;
mod rest;
mod shrink;
mod store;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant, SystemTime};

use taskhost_core::outcome::Outcome;
#[cfg(debug_assertions)]
use taskhost_core::unit::fault::{Fault, plant};

use crate::check::Check;
use crate::model::World;
use crate::plan::Plan;

/// How many seeds are tried where nobody says.
const DEFAULT_SEEDS: u64 = 2_000;

/// How much of a failure's text tells of which kind it is.
const MAX_KIND_CHARS: usize = 100;

/// What a run of a plan comes to; a panic is a failure too.
fn run(plan: &Plan) -> Check {
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| World::new(plan).live(plan)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

/// What was found: for each kind of failure the first seed that has it, and how many have.
#[derive(Default)]
struct Found(BTreeMap<String, (u64, u64)>);

impl Found {
    fn try_seed(&mut self, seed: u64) {
        if let Err(why) = run(&Plan::of(seed)) {
            self.0.entry(kind_of(&why)).or_insert((seed, 0)).1 += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        for (kind, (seed, times)) in other.0 {
            let mine = self.0.entry(kind).or_insert((seed, 0));
            *mine = (mine.0.min(seed), mine.1 + times);
        }
    }

    /// Fails if anything was found, with the whole story of one.
    fn tell(self) {
        let Some((first, _)) = self.0.values().max_by_key(|(_, times)| times) else { return };
        let kinds: Vec<_> =
            self.0.iter().map(|(kind, (seed, times))| format!("  {times} x seed {seed}: {kind}")).collect();
        panic!("{}\n\nfailures:\n{}\n", report(&Plan::of(*first)), kinds.join("\n"));
    }
}

/// Of one kind are failures that differ in numbers only.
fn kind_of(why: &str) -> String {
    let words: Vec<_> = why.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 1).collect();
    words.join(" ").chars().take(MAX_KIND_CHARS).collect()
}

/// The shortest list of events that still fails, with all that happens in it.
fn report(plan: &Plan) -> String {
    let kind = run(plan).err().map(|why| kind_of(&why));
    let least = shrink::shrink(plan, |plan| run(plan).err().map(|why| kind_of(&why)) == kind);
    let seed = least.seed;
    let mut world = World::new(&least);
    world.story = Some(Vec::new());
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| world.live(&least)));
    let why = match outcome {
        Ok(Err(why)) => why,
        Ok(Ok(())) => "it does not fail any more".to_owned(),
        Err(_) => "it panics; see above".to_owned(),
    };
    let story = world.story.unwrap_or_default().join("\n");
    let events: Vec<_> = least.events.iter().map(ToString::to_string).collect();
    format!(
        "seed {seed}: {why}\n\n{story}\n\nof {} events, these are enough, from {}:\n  {}\n\n{why}\n\n\
         again: SIM_SEED={seed} cargo test -p taskhost-core --test simulator\n",
        plan.events.len(),
        plan.start,
        events.join("\n  "),
    )
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: `{text}`")))
}

#[test]
fn what_must_hold_does_whatever_happens() {
    let mut found = Found::default();
    if let Some(seed) = number("SIM_SEED") {
        found.try_seed(seed);
    } else if let Some(seconds) = number("SIM_SECONDS") {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (mut seed, mut tried, began) = (since_epoch.as_nanos() as u64, 0_u64, Instant::now());
        while began.elapsed() < Duration::from_secs(seconds) && found.0.is_empty() {
            found.try_seed(seed);
            seed = seed.wrapping_add(1);
            tried += 1;
        }
        told(format_args!("{tried} seeds"));
    } else {
        let seeds = number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
        std::thread::scope(|scope| {
            let share = |first| {
                move || {
                    let mut found = Found::default();
                    (first..seeds).step_by(threads as usize).for_each(|seed| found.try_seed(seed));
                    found
                }
            };
            let shares: Vec<_> = (0..threads).map(|first| scope.spawn(share(first))).collect();
            for share in shares {
                found.merge(share.join().expect("failures are caught"));
            }
        });
    }
    found.tell();
}

/// How many seeds may pass until a planted fault is found.
#[cfg(debug_assertions)]
const MAX_SEEDS_TO_FIND: u64 = 2_000;

#[cfg(debug_assertions)]
#[test]
fn every_planted_fault_is_found() {
    let mut unfound = Vec::new();
    for fault in Fault::ALL {
        plant(Some(fault));
        let found = (0..MAX_SEEDS_TO_FIND).find_map(|seed| run(&Plan::of(seed)).err().map(|why| (seed, why)));
        plant(None);
        match found {
            Some((seed, why)) => told(format_args!("{fault:?} is found with seed {seed}: {why}")),
            None => unfound.push(fault),
        }
    }
    assert!(unfound.is_empty(), "{MAX_SEEDS_TO_FIND} seeds do not find {unfound:?}");
}

#[test]
fn a_week_of_mixed_tasks_holds_and_takes_seconds() {
    let plan = Plan::week(1);
    let mut world = World::new(&plan);
    if let Err(why) = world.live(&plan) {
        panic!("{why}\n\n{}", report(&plan));
    }
    let counts = world.counts();
    told(format_args!("{} steps; {counts:?}", world.steps));
    for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Cancelled) {
        assert!(counts.get(outcome) > 0, "a week without `{outcome}`");
    }
}

/// For whoever asks with `--nocapture`.
fn told(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}
