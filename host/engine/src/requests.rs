//! What guests ask for by HTTP, for who tries a plugin out and wants to know.

use std::sync::{Mutex, MutexGuard, PoisonError};

use taskhost_core::outcome::cut;

/// The most requests that wait to be taken; of more it is counted how many there were.
const MAX_WAITING: usize = 10_000;

/// The most that is kept of a URL, in bytes.
const MAX_URL_BYTES: usize = 8 << 10;

/// The most that is kept of what is sent with one request, in bytes.
pub(crate) const MAX_SENT_BYTES: usize = 64 << 10;

/// The same of all requests that wait to be taken.
const MAX_ALL_SENT_BYTES: usize = 64 << 20;

/// A request as a guest made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without the task's secrets, and cut to 8 KiB.
    pub url: String,
    /// What was sent with it, without the task's secrets and as far as it is kept: 64 KiB of each, and 64 MiB of all that wait.
    pub sent: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
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
    /// What was sent with those that wait, together.
    sent_bytes: usize,
    lost: u64,
}

impl Requests {
    /// Those that were noted since the last time, and how many more there were.
    pub fn take(&self) -> (Vec<Request>, u64) {
        let mut noted = self.lock();
        noted.taken += noted.waiting.len() as u64;
        noted.sent_bytes = 0;
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
        noted.waiting.push(Request { method, url, sent: Vec::new(), is_cut: false, answer: None });
        Some(noted.taken + noted.waiting.len() as u64 - 1)
    }

    /// What was sent with it.
    pub(crate) fn sent(&self, number: Option<u64>, sent: Vec<u8>, is_cut: bool) {
        let mut noted = self.lock();
        let has_room = noted.sent_bytes + sent.len() <= MAX_ALL_SENT_BYTES;
        let bytes = sent.len();
        let Some(request) = noted.request(number) else { return };
        if has_room {
            (request.sent, request.is_cut) = (sent, is_cut);
            noted.sent_bytes += bytes;
        } else {
            request.is_cut = true;
        }
    }

    /// What came of it. Of one that was taken already it is nobody's business any more.
    pub(crate) fn answered(&self, number: Option<u64>, answer: Result<u16, String>) {
        if let Some(request) = self.lock().request(number) {
            request.answer = Some(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    /// One that was not taken yet.
    fn request(&mut self, number: Option<u64>) -> Option<&mut Request> {
        let at = usize::try_from(number?.checked_sub(self.taken)?).ok()?;
        self.waiting.get_mut(at)
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
    fn what_is_sent_is_kept_as_far_as_there_is_room() {
        let requests = Requests::default();
        let sent = || {
            let number = requests.asked("POST", "http://a/");
            requests.sent(number, vec![b'x'; MAX_SENT_BYTES], false);
        };
        (0..=MAX_ALL_SENT_BYTES / MAX_SENT_BYTES).for_each(|_| sent());
        let (taken, _) = requests.take();
        let [.., last_kept, first_cut] = &taken[..] else { panic!("several") };
        assert_eq!((last_kept.sent.len(), last_kept.is_cut), (MAX_SENT_BYTES, false));
        assert_eq!((first_cut.sent.len(), first_cut.is_cut), (0, true));
        sent();
        assert_eq!(requests.take().0[0].sent.len(), MAX_SENT_BYTES, "there is room again");
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
