//! What the benches of the parts have in common. A part is the host's own code on the path of a tick or of a call, driven by itself.
//!
//! Each crate's bench has a list of [`Part`]s. divan times them (`cargo bench`); with `--instructions` callgrind counts what they
//! execute, which machines that are busy, and of another speed, tell alike.

mod instructions;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;

/// The host's, since a part of what is measured is allocating.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long a part works before it is timed.
const WARM_UP: Duration = Duration::from_millis(20);

/// Something that is measured by itself.
pub struct Part {
    pub name: &'static str,
    /// Gets everything ready. What it answers does the work that is measured, again and again, each time the same.
    pub prepare: fn() -> Box<dyn FnMut()>,
    /// How many operations each call of it does: figures are of one.
    pub operations: u32,
    /// How many calls make a round of those that are counted: so many that what happens seldom, a vector that grows, say, is among
    /// them. None for what executes the same as another part, and is timed because it finds the caches otherwise.
    pub counted_calls: u32,
}

impl Part {
    /// Times it.
    pub fn time(&self, bencher: Bencher<'_, '_>) {
        let mut work = (self.prepare)();
        let began = Instant::now();
        // How many calls make a sample is found by the first ones, which must not be slower than others.
        while began.elapsed() < WARM_UP {
            work();
        }
        bencher.counter(ItemsCount::new(self.operations)).bench_local(work);
    }

    /// Does what is counted, each round between two marks that callgrind knows by their names.
    fn count(&self) {
        let mut work = (self.prepare)();
        // The first one finds caches empty, and what is looked up once.
        work();
        for _ in 0..instructions::ROUNDS {
            instructions::counting_begins();
            (0..self.counted_calls).for_each(|_| work());
            instructions::counting_ends();
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.operations {
            1 => Ok(()),
            many => write!(f, " × {many}"),
        }
    }
}

/// The program of a bench: `group` is what its figures are kept under.
pub fn main(group: &str, parts: &[Part]) -> ExitCode {
    let mut args = std::env::args().skip(1);
    let done = match args.find(|arg| matches!(arg.as_str(), "--instructions" | "--bless" | instructions::COUNT)) {
        None => {
            divan::main();
            return ExitCode::SUCCESS;
        }
        Some(arg) if arg == instructions::COUNT => {
            let name = args.next().unwrap_or_default();
            parts.iter().filter(|part| part.name == name).for_each(Part::count);
            return ExitCode::SUCCESS;
        }
        Some(arg) => instructions::compare(group, parts, arg == "--bless"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
