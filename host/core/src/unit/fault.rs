//! Deliberate bugs, for the simulator to prove that it finds such. With optimisation, as in every release, there are none: `planted`
//! is a constant, and no code is left of them. Else each is off until a test plants it, in its own thread. (A cargo feature would
//! have all tests run another core than the one that is built to run.)

/// One bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// After a crash, nothing counts as claimed.
    ClaimIgnored,
    /// After a crash, no start counts as noted.
    NotedStartIgnored,
    /// A run that was made up for before a crash is made up for again.
    CatchUpTwice,
    /// What overlaps is skipped without a record.
    SkipNotRecorded,
    /// The due times of a pause have no record.
    PauseNotAccounted,
    /// A run begins by its own jitter, even before the one in front of it.
    JitterReorders,
    /// One run more than `max_runs`.
    OneRunMore,
    /// The second attempt has another key.
    RetryHasNewKey,
    /// What waited begins after the task was deleted.
    DeletedBeginsQueued,
    /// A clock that was set back lets due times come again.
    ClockSetBackRunsAgain,
    /// A local time that does not exist has no record.
    GapNotRecorded,
    /// What is missed is made up for however old it is.
    WindowIgnored,
    /// One due time more than `max_buffered` waits.
    OneMoreWaits,
    /// An edit forgets what has come due and was not begun.
    EditForgetsDue,
    /// A run that failed is tried again without an end.
    OneAttemptMore,
    /// An abandoned run is begun anew although the task does not ask for it.
    AbandonedRunsAgain,
    /// A run may begin beside another.
    RunsOverlap,
    /// A unit forgets to ask for its next wake-up after a pause.
    PauseForgetsWake,
    /// A patch is made although a record was begun since the state was written.
    PatchForgetsRecord,
}

impl Fault {
    pub const ALL: [Self; 19] = [
        Self::ClaimIgnored,
        Self::NotedStartIgnored,
        Self::CatchUpTwice,
        Self::SkipNotRecorded,
        Self::PauseNotAccounted,
        Self::JitterReorders,
        Self::OneRunMore,
        Self::RetryHasNewKey,
        Self::DeletedBeginsQueued,
        Self::ClockSetBackRunsAgain,
        Self::GapNotRecorded,
        Self::WindowIgnored,
        Self::OneMoreWaits,
        Self::EditForgetsDue,
        Self::OneAttemptMore,
        Self::AbandonedRunsAgain,
        Self::RunsOverlap,
        Self::PauseForgetsWake,
        Self::PatchForgetsRecord,
    ];
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in the units of this thread, or takes it out again.
#[cfg(debug_assertions)]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Whether this bug is planted.
#[cfg(debug_assertions)]
pub(super) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

#[cfg(not(debug_assertions))]
pub(super) const fn planted(_: Fault) -> bool {
    false
}
