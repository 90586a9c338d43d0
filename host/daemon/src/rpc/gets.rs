//! `TaskUnit.Get`, many at a time, with answers that are kept while their tasks do nothing.
//!
//! Who watches tasks asks for the same ones again and again, and most have done nothing since. What was answered is then answered
//! again, without a trip to the worker and back. A worker says when a kept answer is not so any more
//! ([`Unchanged`]), before anybody can know of what has changed.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use lru::LruCache;
use taskhost_api::{GetRequest, Task};
use taskhost_core::supervisor::{TaskError, TaskView, Unchanged};

use super::convert;
use super::errors::to_rpc;
use crate::Host;
use crate::stream::{Part, Tasks};

/// How many answers are kept, those that were asked for last, and how long one may be: some 3 MiB of usual ones.
const MAX_KEPT: NonZero<usize> = NonZero::new(4096).expect("it is not 0");
const MAX_KEPT_BYTES: usize = 2048;

/// Gets tasks for whoever asks. Cheap to clone; all clones keep the same answers.
#[derive(Clone)]
pub(super) struct Gets {
    host: Host,
    /// By name as it was asked for. Held for moments, and by the daemon's own thread only.
    kept: Arc<Mutex<LruCache<String, Kept>>>,
}

struct Kept {
    json: Arc<str>,
    unchanged: Unchanged,
}

impl Gets {
    pub(super) fn new(host: Host) -> Self {
        Self { host, kept: Arc::new(Mutex::new(LruCache::new(MAX_KEPT))) }
    }

    /// The answer that is kept to a request, if it still holds.
    fn known(&self, request: &GetRequest) -> Option<Arc<str>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(&request.name).filter(|known| !request.effective && known.unchanged.holds())?;
        Some(Arc::clone(&known.json))
    }

    fn answer(&self, request: &GetRequest, view: TaskView, unchanged: Unchanged) -> Arc<str> {
        let task = task(&self.host, view, request.effective);
        let json: Arc<str> = serde_json::to_string(&task).expect("a task is always written as JSON").into();
        if !request.effective && json.len() <= MAX_KEPT_BYTES {
            let kept = Kept { json: Arc::clone(&json), unchanged };
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(request.name.clone(), kept);
        }
        json
    }
}

impl Tasks for Gets {
    fn get(&self, requests: Vec<GetRequest>) -> Vec<BoxFuture<'static, Part>> {
        let mut known = Vec::new();
        let mut wanted = Vec::new();
        for (at, request) in requests.into_iter().enumerate() {
            match self.known(&request) {
                Some(json) => known.push((at, Ok(json))),
                None => wanted.push((at, request)),
            }
        }
        let mut parts = Vec::new();
        if !known.is_empty() {
            parts.push(ready(known).boxed());
        }
        let names: Vec<&str> = wanted.iter().map(|(_, request)| request.name.as_str()).collect();
        let asked = self.host.get_together(&names);
        let wanted: Arc<[(usize, GetRequest)]> = wanted.into();
        parts.extend(asked.into_iter().map(|asked| {
            let (this, wanted) = (self.clone(), Arc::clone(&wanted));
            let part = async move {
                let answer = |(place, got): (usize, Result<_, TaskError>)| {
                    let (at, request) = &wanted[place];
                    (*at, got.map(|(view, unchanged)| this.answer(request, view, unchanged)).map_err(to_rpc))
                };
                asked.await.into_iter().map(answer).collect()
            };
            part.boxed()
        }));
        parts
    }
}

/// The answer to `TaskUnit.Get`.
pub(super) fn task(host: &Host, mut view: TaskView, effective: bool) -> Task {
    if effective {
        view.spec = Arc::new(host.ceilings().effective(&view.spec));
    }
    convert::task(view, effective)
}
