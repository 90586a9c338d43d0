//! Methods for the tests of the wire, none of which is a host's.

use std::sync::{Arc, Mutex, PoisonError};

use jsonrpsee::RpcModule;
use jsonrpsee::core::{SubscriptionResult, to_json_raw_value};
use jsonrpsee::server::{Extensions, Methods, PendingSubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::Deserialize;
use serde_json::Value;
use taskhost_api::ErrorCode;
use tokio::sync::Semaphore;

use crate::access::Caller;

pub(crate) const CALLER: Caller = Caller { uid: 7 };

/// What the methods leave behind.
pub(crate) struct Toy {
    /// The parameters of every call of `wait` and `note`, in the order in which they began.
    begun: Mutex<Vec<Value>>,
    /// `wait` ends when it gets a permit.
    pub(crate) go_on: Semaphore,
    /// Gets a permit for every subscription that ended.
    pub(crate) ended: Semaphore,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    #[serde(default)]
    to: u64,
}

impl Toy {
    pub(crate) fn methods() -> (Arc<Self>, Methods) {
        let toy = Self { begun: Mutex::default(), go_on: Semaphore::new(0), ended: Semaphore::new(0) };
        let toy = Arc::new(toy);
        let mut module = RpcModule::from_arc(Arc::clone(&toy));
        let registered = (|| {
            module.register_method("echo", |params, _, _| params.one::<Value>())?;
            module.register_method("who", |_, _, extensions: &Extensions| {
                extensions.get::<Caller>().map(|caller| caller.uid)
            })?;
            module.register_method("fail", |_, _, _| {
                let hint = Some("`taskctl list` shows them".to_owned());
                Err::<(), _>(ErrorCode::TaskNotFound.to_error("no task `x`", hint))
            })?;
            module.register_method("count_to", |params, _, _| params.one::<Count>().map(|count| count.to))?;
            module.register_method("big", |params, _, _| params.one::<usize>().map(|bytes| "x".repeat(bytes)))?;
            module.register_async_method("note", |params, toy, _| async move { toy.begin(&params) })?;
            module.register_async_method("wait", |params, toy, _| async move {
                let sent = toy.begin(&params)?;
                toy.go_on.acquire().await.expect("it is never closed").forget();
                Ok::<_, ErrorObjectOwned>(sent)
            })?;
            module.register_subscription("subscribe", "counted", "unsubscribe", |params, sink, toy, _| async move {
                let ended = count(&params, sink).await;
                toy.ended.add_permits(1);
                ended
            })?;
            Ok::<_, jsonrpsee::server::RegisterMethodError>(())
        })();
        registered.expect("every name is used once");
        (toy, module.into())
    }

    pub(crate) fn begun(&self) -> Vec<Value> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        let sent: Value = params.one()?;
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(sent.clone());
        Ok(sent)
    }
}

/// Sends the numbers below `to`, and then stays.
async fn count(params: &Params<'_>, sink: PendingSubscriptionSink) -> SubscriptionResult {
    let Count { to } = match params.one() {
        Ok(count) => count,
        Err(error) => {
            sink.reject(error).await;
            return Ok(());
        }
    };
    let sink = sink.accept().await?;
    for number in 0..to {
        sink.send(to_json_raw_value(&number)?).await?;
    }
    sink.closed().await;
    Ok(())
}
