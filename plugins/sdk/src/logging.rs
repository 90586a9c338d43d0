//! Lines of the task's log with a level: `taskctl logs --level warn` shows those that matter.
//!
//! With the feature `log`, the macros of the crate `log` write such lines too, and nothing has to be set up for that: those of `info!`
//! and above, unless the plugin calls `log::set_max_level`. What is printed has no level, and counts as [`Level::Info`].

use crate::sys;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who follows each step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What may become a fault.
    Warn,
    /// What went wrong.
    Error,
    /// What somebody must look after at once.
    Critical,
}

/// Writes a line to the task's log. What the host does not take is lost: a plugin does not fail for its log.
pub fn log(level: Level, message: &str) {
    sys::log(level, "", message);
}

/// Lets the macros of the crate `log` write lines: done for every run. Another logger that the plugin has set stays.
#[cfg(feature = "log")]
pub(crate) fn install() {
    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let level = match record.level() {
                log::Level::Trace => Level::Trace,
                log::Level::Debug => Level::Debug,
                log::Level::Info => Level::Info,
                log::Level::Warn => Level::Warn,
                log::Level::Error => Level::Error,
            };
            sys::log(level, record.target(), &record.args().to_string());
        }

        fn flush(&self) {}
    }

    // An instance that is kept has it from its first run.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, Line, Stream};

    #[test]
    fn a_line_keeps_its_level() {
        let host = Host::new();
        host.within(|| log(Level::Warn, "disk almost full"));
        assert_eq!(host.lines(), [Line { stream: Stream::Log(Level::Warn), text: "disk almost full".to_owned() }]);
    }

    #[cfg(feature = "log")]
    #[test]
    fn the_macros_of_log_write_such_lines() {
        let host = Host::new();
        let tick = crate::testing::tick("t");
        let run = |_: crate::Tick| {
            ::log::error!("no disk");
            ::log::debug!("not told");
        };
        host.run(tick, run).expect("a success");
        let [line] = &host.lines()[..] else { panic!("{:?}", host.lines()) };
        assert_eq!((line.stream, line.text.contains("no disk")), (Stream::Log(Level::Error), true));
    }
}
