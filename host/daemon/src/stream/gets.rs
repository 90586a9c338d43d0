//! Calls of `TaskUnit.Get` that come together, asked and answered together.
//!
//! It is what clients ask most, and so little that the way to its method and back would be most of what it costs. Calls of it
//! that stand one behind the other in what was read go to the workers as one message each, and their answers are written one
//! behind the other. All else about them is as if each had gone alone: they are begun in their turn, and none waits for another
//! worker than its own task's.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jsonrpsee::server::Methods;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::RawValue;
use taskhost_api::GetRequest;

use super::answer;
use super::message::{Dialect, Request};

const METHOD: &str = "TaskUnit.Get";

/// What is served: every method, and tasks for those who get many at a time.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) methods: Methods,
    /// `None` where there are only methods.
    pub(crate) tasks: Option<Arc<dyn Tasks>>,
}

impl From<Methods> for Served {
    fn from(methods: Methods) -> Self {
        Self { methods, tasks: None }
    }
}

/// Where tasks are got from.
pub(crate) trait Tasks: Send + Sync {
    /// Some of the tasks that were asked for as soon as they are known, each with its place in `requests`. What is known at the
    /// same time is one part.
    fn get(&self, requests: Vec<GetRequest>) -> Vec<BoxFuture<'static, Part>>;
}

/// Tasks as JSON.
pub(crate) type Part = Vec<(usize, Result<Arc<str>, ErrorObjectOwned>)>;

/// Calls that came one behind the other.
#[derive(Default)]
pub(super) struct Gets {
    requests: Vec<GetRequest>,
    callers: Vec<Waiting>,
}

/// How a call is answered.
struct Waiting {
    dialect: Dialect,
    id: Box<RawValue>,
    message_bytes: usize,
}

/// Some of them, to be answered at the same time.
pub(super) struct Answers {
    pub(super) calls: usize,
    /// How many bytes their messages had.
    pub(super) message_bytes: usize,
    /// One on each line, without the last newline.
    pub(super) text: String,
}

impl Gets {
    /// Takes a call if it is one to get a task, has an answer and reads well; who else calls what is for its method to say.
    pub(super) fn take(&mut self, request: &Request<'_>, message_bytes: usize) -> bool {
        let (Ok(call), Some(id)) = (&request.call, &request.id) else { return false };
        let Some(wanted) = (call.method == METHOD).then_some(call.params.as_deref()).flatten().and_then(read) else {
            return false;
        };
        self.requests.push(wanted);
        self.callers.push(Waiting { dialect: request.dialect, id: RawValue::to_owned(id), message_bytes });
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Begins them when the first part is polled; each part answers some of them.
    pub(super) fn begin(self, tasks: &dyn Tasks) -> Vec<BoxFuture<'static, Answers>> {
        let callers = Arc::new(self.callers);
        let write = |part: BoxFuture<'static, Part>| {
            let callers = Arc::clone(&callers);
            async move { write(part.await, &callers) }.boxed()
        };
        tasks.get(self.requests).into_iter().map(write).collect()
    }
}

/// The parameter, bare or as the only element of an array.
fn read(params: &RawValue) -> Option<GetRequest> {
    let text = params.get();
    if text.starts_with('[') {
        return serde_json::from_str::<(GetRequest,)>(text).ok().map(|(request,)| request);
    }
    serde_json::from_str(text).ok()
}

fn write(part: Part, callers: &[Waiting]) -> Answers {
    let bytes = part.iter().map(|(at, task)| answer::room(&callers[*at].id, task.as_deref().unwrap_or_default()) + 1);
    let mut answers = Answers { calls: 0, message_bytes: 0, text: String::with_capacity(bytes.sum()) };
    for (at, task) in part {
        let Waiting { dialect, id, message_bytes } = &callers[at];
        if answers.calls > 0 {
            answers.text.push('\n');
        }
        answers.calls += 1;
        answers.message_bytes += message_bytes;
        match task {
            Ok(task) => answer::write_result(&mut answers.text, *dialect, id, &task),
            Err(error) => answers.text.push_str(&answer::write(*dialect, id, &Err(error))),
        }
    }
    answers
}
