//! A host for tests of a plugin's function, off wasm: it has settings, keys and values, answers to HTTP requests and arguments as the
//! test says, and keeps what the function wrote. Nothing is waited for: [`sleep`](crate::sleep) only counts.
//!
//! ```
//! use taskhost_plugin::testing::{Host, tick};
//! use taskhost_plugin::{Failure, Tick, config, kv, println};
//!
//! fn run(tick: Tick) -> Result<String, Failure> {
//!     let name: String = config::require("name")?;
//!     println!("hello {name}, said {}", tick.task);
//!     Ok(format!("greeted {} times", kv::increment("greeted", 1)?))
//! }
//!
//! let host = Host::new().config("name", "Ada").kv([("greeted", "2")]);
//! assert_eq!(host.run(tick("greeter"), run), Ok(Some("greeted 3 times".to_owned())));
//! assert_eq!(host.printed(), ["hello Ada, said greeter"]);
//! assert_eq!(host.value("greeted").as_deref(), Some(&b"3"[..]));
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::logging::Level;
use crate::{Answer, Failure, Reason, Tick};

/// The due time of a [`tick`] that says nothing else: 2030-01-01T00:00:00Z.
const DUE: Duration = Duration::from_secs(1_893_456_000);

/// A tick of a task as its schedule makes it: the first attempt, due at the beginning of 2030, the first ever. Change what matters:
/// `Tick { attempt: 2, ..tick("t") }`.
pub fn tick(task: &str) -> Tick {
    Tick {
        task: task.to_owned(),
        run_id: "0000000000000001-1a46fc6b2a1f0000".to_owned(),
        attempt: 1,
        due: SystemTime::UNIX_EPOCH + DUE,
        due_local: "2030-01-01T00:00:00Z".to_owned(),
        since: None,
        reason: Reason::Schedule,
    }
}

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// By [`println!`](crate::println).
    Stdout,
    /// By [`eprintln!`](crate::eprintln).
    Stderr,
    /// By [`logging`](crate::logging).
    Log(Level),
}

/// A line of the task's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it was written to.
    pub stream: Stream,
    /// Without its newline.
    pub text: String,
}

/// What a plugin's function finds around it.
#[derive(Clone, Default)]
pub struct Host(Rc<RefCell<World>>);

#[cfg(feature = "http")]
type Server = Box<dyn FnMut(&crate::http::Request) -> Result<crate::http::Response, crate::http::Error>>;

#[derive(Default)]
pub(crate) struct World {
    pub(crate) args: Vec<String>,
    pub(crate) config: BTreeMap<String, String>,
    /// `None` if the task is granted none.
    pub(crate) kv: Option<BTreeMap<String, Vec<u8>>>,
    pub(crate) lines: Vec<Line>,
    pub(crate) remaining: Option<Duration>,
    pub(crate) cancelled: bool,
    pub(crate) slept: Duration,
    #[cfg(feature = "http")]
    pub(crate) server: Option<Server>,
}

thread_local! {
    /// The one that the function on this thread runs in.
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Does this with the host that is around, if there is one.
pub(crate) fn in_host<T>(work: impl FnOnce(&mut World) -> T) -> Option<T> {
    let host = CURRENT.with(|current| current.borrow().clone())?;
    let mut world = host.0.borrow_mut();
    Some(work(&mut world))
}

impl Host {
    /// A host that grants nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these arguments.
    #[must_use]
    pub fn args<A: Into<String>>(self, args: impl IntoIterator<Item = A>) -> Self {
        self.with(|world| world.args = args.into_iter().map(Into::into).collect())
    }

    /// With a setting or a secret.
    #[must_use]
    pub fn config(self, name: &str, value: &str) -> Self {
        self.with(|world| drop(world.config.insert(name.to_owned(), value.to_owned())))
    }

    /// With a store that has these keys and values.
    #[must_use]
    pub fn kv<K: Into<String>, V: Into<Vec<u8>>>(self, values: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.with(|world| world.kv.get_or_insert_default().extend(values))
    }

    /// With an attempt that may still take so long.
    #[must_use]
    pub fn remaining(self, remaining: Duration) -> Self {
        self.with(|world| world.remaining = Some(remaining))
    }

    /// With a run that somebody cancelled.
    #[must_use]
    pub fn cancelled(self) -> Self {
        self.with(|world| world.cancelled = true)
    }

    /// With this answer to each HTTP request; without one, all are denied.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(
        self,
        server: impl FnMut(&crate::http::Request) -> Result<crate::http::Response, crate::http::Error> + 'static,
    ) -> Self {
        self.with(|world| world.server = Some(Box::new(server)))
    }

    fn with(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// Runs a plugin's function once; what it kept is there for the next time.
    ///
    /// # Errors
    /// The failure that the function returned.
    pub fn run<A: Answer>(&self, tick: Tick, run: impl FnOnce(Tick) -> A) -> Result<Option<String>, Failure> {
        #[cfg(feature = "log")]
        crate::logging::install();
        self.within(|| run(tick)).into_answer()
    }

    /// Does something of the plugin's within this host.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when the test panics.
        struct Restored(Option<Host>);

        impl Drop for Restored {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }

        let _restored = Restored(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// What was written so far, in order.
    pub fn lines(&self) -> Vec<Line> {
        self.0.borrow().lines.clone()
    }

    /// The lines of standard output among them.
    pub fn printed(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.stream == Stream::Stdout).map(|line| line.text).collect()
    }

    /// The value of a key, if the task has a store and it is in there.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.0.borrow().kv.as_ref()?.get(key).cloned()
    }

    /// For how long it has slept, all in all.
    pub fn slept(&self) -> Duration {
        self.0.borrow().slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context, eprintln, println, sleep};

    #[test]
    fn a_function_finds_what_the_test_says_and_leaves_what_it_did() {
        let host = Host::new().args(["a", "b"]).remaining(Duration::from_secs(9)).cancelled();
        let run = |tick: Tick| {
            println!("{} {:?}", tick.task, crate::args());
            eprintln!("careful");
            sleep(Duration::from_secs(3600));
            format!("{:?} {}", context::remaining(), context::cancelled())
        };
        assert_eq!(host.run(tick("t"), run).expect("a success").as_deref(), Some("Some(9s) true"));
        let stderr = Line { stream: Stream::Stderr, text: "careful".to_owned() };
        assert_eq!((host.printed(), &host.lines()[1]), (vec![r#"t ["a", "b"]"#.to_owned()], &stderr));
        assert_eq!(host.slept(), Duration::from_secs(3600));
    }

    #[test]
    fn a_host_is_around_for_its_run_only_even_if_that_panics() {
        let panicked = std::panic::catch_unwind(|| Host::new().within(|| panic!("as it may")));
        assert!(panicked.is_err());
        assert!(in_host(|_| ()).is_none());
        let (outer, inner) = (Host::new(), Host::new());
        outer.within(|| {
            inner.within(|| println!("inner"));
            println!("outer");
        });
        assert_eq!((outer.printed(), inner.printed()), (vec!["outer".to_owned()], vec!["inner".to_owned()]));
    }
}
