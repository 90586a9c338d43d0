//! What guests ask for by HTTP, for who tries a plugin out and wants to know.

use std::sync::{Mutex, MutexGuard, PoisonError};

use taskhost_core::outcome::cut;

/// The most requests that wait to be taken; of more it is counted how many there were.
const MAX_WAITING: usize = 10_000;

/// The most that is kept of a URL, in bytes.
const MAX_URL_BYTES: usize = 8 << 10;

/// A request as a guest made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without the task's secrets, and cut to 8 KiB.
    pub url: String,
    /// The status of the answer, or why there was none. `None` of one that has not ended.
    pub answer: Option<Result<u16, String>>,
}

/// The requests of all guests of an engine, until they are taken.
#[derive(Debug, Default)]
pub struct Requests {
    /// Locked for moments, by the threads that run guests and who takes them.
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    waiting: Vec<Request>,
    /// How many were taken: the number of the first that waits.
    taken: u64,
    lost: u64,
}

impl Requests {
    /// Those that were noted since the last time, and how many more there were.
    pub fn take(&self) -> (Vec<Request>, u64) {
        let mut noted = self.lock();
        noted.taken += noted.waiting.len() as u64;
        (std::mem::take(&mut noted.waiting), std::mem::take(&mut noted.lost))
    }

    /// A guest makes a request; its number.
    pub(crate) fn asked(&self, method: &str, url: &str) -> Option<u64> {
        let mut noted = self.lock();
        if noted.waiting.len() >= MAX_WAITING {
            noted.lost += 1;
            return None;
        }
        let (method, url) = (cut(method, MAX_URL_BYTES).to_owned(), cut(url, MAX_URL_BYTES).to_owned());
        noted.waiting.push(Request { method, url, answer: None });
        Some(noted.taken + noted.waiting.len() as u64 - 1)
    }

    /// What came of it. Of one that was taken already it is nobody's business any more.
    pub(crate) fn answered(&self, number: Option<u64>, answer: Result<u16, String>) {
        let mut noted = self.lock();
        let at = number.and_then(|number| number.checked_sub(noted.taken)).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| noted.waiting.get_mut(at)) {
            request.answer = Some(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_its_request_and_one_that_comes_too_late_to_none() {
        let requests = Requests::default();
        let first = requests.asked("GET", "http://a/");
        let second = requests.asked("POST", "http://b/");
        requests.answered(second, Ok(204));
        let (taken, lost) = requests.take();
        assert_eq!((taken[0].answer.clone(), taken[1].answer.clone(), lost), (None, Some(Ok(204)), 0));
        let third = requests.asked("GET", "http://c/");
        requests.answered(first, Ok(500));
        requests.answered(third, Err("no".to_owned()));
        let taken = requests.take().0;
        assert_eq!((taken[0].url.as_str(), &taken[0].answer), ("http://c/", &Some(Err("no".to_owned()))));
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let requests = Requests::default();
        let numbers: Vec<_> = (0..MAX_WAITING + 2).map(|_| requests.asked("GET", &"é".repeat(MAX_URL_BYTES))).collect();
        assert_eq!(numbers[MAX_WAITING], None);
        let (taken, lost) = requests.take();
        assert_eq!((taken.len(), taken[0].url.len(), lost), (MAX_WAITING, MAX_URL_BYTES, 2));
    }
}
