//! Methods for the tests of the wire, none of which is a host's.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jsonrpsee::RpcModule;
use jsonrpsee::core::{SubscriptionResult, to_json_raw_value};
use jsonrpsee::server::{Extensions, Methods, PendingSubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::Deserialize;
use serde_json::Value;
use taskhost_api::{ErrorCode, GetRequest};
use tokio::sync::Semaphore;

use super::{Part, Served, Tasks};
use crate::access::Caller;

pub(crate) const CALLER: Caller = Caller { uid: 7 };

/// What the methods leave behind.
pub(crate) struct Toy {
    /// The parameters of every call of `wait` and `note`, and the names of tasks that were got together, in the order in which they
    /// began.
    begun: Mutex<Vec<Value>>,
    /// `wait` ends when it gets a permit, and so do all together that get tasks whose names begin with `slow`.
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
            module.register_async_method("TaskUnit.Get", |params, _, _| async move {
                let GetRequest { name, .. } = params.one()?;
                Ok::<_, ErrorObjectOwned>(format!("{name} got alone"))
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

    /// The same, with tasks to get.
    pub(crate) fn served() -> (Arc<Self>, Served) {
        let (toy, methods) = Self::methods();
        (Arc::clone(&toy), Served { methods, tasks: Some(Arc::new(Rack(toy))) })
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

/// Where tasks are got from: there is every one but those whose names begin with `no`.
struct Rack(Arc<Toy>);

impl Tasks for Rack {
    fn get(&self, requests: Vec<GetRequest>) -> Vec<BoxFuture<'static, Part>> {
        let names: Vec<String> = requests.into_iter().map(|request| request.name).collect();
        let (slow, quick): (Vec<_>, Vec<_>) =
            names.iter().cloned().enumerate().partition(|(_, name)| name.starts_with("slow"));
        let mut parts = Vec::new();
        for (names, is_slow) in [(slow, true), (quick, false)] {
            if names.is_empty() {
                continue;
            }
            let toy = Arc::clone(&self.0);
            let all: Value = names.iter().map(|(_, name)| name.as_str()).collect();
            let part = async move {
                toy.begun.lock().unwrap_or_else(PoisonError::into_inner).push(all);
                if is_slow {
                    toy.go_on.acquire().await.expect("it is never closed").forget();
                }
                let found = |(at, name): (usize, String)| {
                    let none = ErrorCode::TaskNotFound.to_error(format!("no task `{name}`"), None);
                    (at, if name.starts_with("no") { Err(none) } else { Ok(format!("{name:?}").into()) })
                };
                names.into_iter().map(found).collect()
            };
            parts.push(part.boxed());
        }
        parts
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
