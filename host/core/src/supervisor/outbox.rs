//! What is on its way to a worker.
//!
//! To wake a thread that sleeps is a system call and a switch, which takes longer than most of what workers are asked. So what is sent
//! in one turn of the runtime, by all the calls of a connection that came together, say, is handed over in one go afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

/// How much is handed over in one piece at most. Less, and a worker that was woken for the first of many would be done with it, and
/// asleep again, before the next one is there; more, and what comes due would have to wait.
pub(crate) const MAX_SENT_TOGETHER: usize = 32;

/// The sending side of a worker's queue. Everything goes in the order in which it was sent.
pub(super) struct Outbox<T> {
    queue: mpsc::Sender<Vec<T>>,
    waiting: Mutex<Waiting<T>>,
}

/// As much as there are calls that wait for an answer, which the listeners bound.
struct Waiting<T> {
    sent: Vec<T>,
    /// Whether there is a task that hands it over.
    is_posted: bool,
}

impl<T: Send + 'static> Outbox<T> {
    pub(super) fn new(queue: mpsc::Sender<Vec<T>>) -> Arc<Self> {
        let waiting = Waiting { sent: Vec::new(), is_posted: false };
        Arc::new(Self { queue, waiting: Mutex::new(waiting) })
    }

    /// Sends it soon; drops it if the worker is gone.
    pub(super) fn send(self: &Arc<Self>, sent: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.sent.push(sent);
        if !std::mem::replace(&mut waiting.is_posted, true) {
            tokio::spawn(Arc::clone(self).post());
        }
    }

    async fn post(self: Arc<Self>) {
        while let Some(sent) = self.take() {
            let mut sent = sent.into_iter();
            while !sent.as_slice().is_empty() {
                let together = sent.by_ref().take(MAX_SENT_TOGETHER).collect();
                // Whoever waits for an answer learns that there will be none.
                drop(self.queue.send(together).await);
            }
        }
    }

    /// What waits; `None` if nothing does, and the next one that comes is to be posted.
    fn take(&self) -> Option<Vec<T>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = std::mem::take(&mut waiting.sent);
        waiting.is_posted = !sent.is_empty();
        waiting.is_posted.then_some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_in_one_turn_comes_together_and_in_order() {
        let (queue, mut received) = mpsc::channel(1000);
        let outbox = Outbox::new(queue);
        for round in 0..3 {
            (0..100).for_each(|number| outbox.send(100 * round + number));
            assert!(received.is_empty(), "nobody is woken before all is there");
            let mut got: Vec<Vec<usize>> = Vec::new();
            received.recv_many(&mut got, 1000).await;
            assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 32, 4], "and for few of many pieces");
            assert_eq!(got.concat(), (100 * round..100 * (round + 1)).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_full_queue_keeps_the_order() {
        let (queue, mut received) = mpsc::channel(1);
        let outbox = Outbox::new(queue);
        for number in 0..100 {
            outbox.send(number);
            tokio::task::yield_now().await;
        }
        let mut got = Vec::new();
        while got.len() < 100 {
            got.extend(received.recv().await.expect("more is on the way"));
        }
        assert_eq!(got, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_sent_to_nobody_is_dropped() {
        let (queue, received) = mpsc::channel(1);
        drop(received);
        let (reply, answer) = tokio::sync::oneshot::channel::<()>();
        Outbox::new(queue).send(reply);
        answer.await.expect_err("it was dropped");
    }
}
