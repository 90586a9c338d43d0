//! What the log of a task is told of that an attempt was denied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use taskhost_core::outcome::cut;

use crate::output::Output;

/// The longest piece of a guest's own text in a denial, in bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// Tells of the first denial of an attempt; of the rest, the plugin's own messages say enough.
pub(crate) struct Denials {
    output: Arc<Output>,
    told: AtomicBool,
}

impl Denials {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self { output, told: AtomicBool::new(false) }
    }

    /// The same for what goes on in the background: it tells if nothing was told yet.
    pub(crate) fn in_background(&self) -> Self {
        let told = AtomicBool::new(self.told.load(Ordering::Relaxed));
        Self { output: Arc::clone(&self.output), told }
    }

    pub(crate) fn begin_again(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.output.host_line(&line());
        }
    }

    /// A text without the task's secrets.
    pub(crate) fn hidden(&self, text: &str) -> String {
        self.output.hidden(text)
    }

    /// The same of bytes; `cut` if there were more.
    pub(crate) fn hidden_in(&self, bytes: &[u8], cut: bool) -> Vec<u8> {
        self.output.hidden_in(bytes, cut)
    }
}

/// A guest's own text as it stands in a message: bounded, and with nothing in it that a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    let kept = cut(text, MAX_QUOTED_BYTES);
    let dots = if kept.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", kept.escape_debug())
}
