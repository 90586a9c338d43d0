//! `wasi:keyvalue@0.2.0-draft2`: `draft` with compare-and-swap, signed counters and cursors of text.

use wasmtime::component::{HasSelf, Linker, Resource};

use crate::state::State;

use super::own_store::{Bucket, Cas, Fault};

use self::bindings::wasi::keyvalue::{atomics, batch, store};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue-0.2.0-draft2",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::linker::key_value::own_store::Bucket,
            "wasi:keyvalue/atomics.cas": crate::linker::key_value::own_store::Cas,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::linker::key_value::own_store::Fault,
        },
    });
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    atomics::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    batch::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

impl store::Host for State {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Fault> {
        self.kv_open(&identifier)
    }

    fn convert_error(&mut self, fault: Fault) -> wasmtime::Result<store::Error> {
        match fault {
            Fault::NoSuchStore => Ok(store::Error::NoSuchStore),
            Fault::AccessDenied => Ok(store::Error::AccessDenied),
            Fault::Other(words) => Ok(store::Error::Other(words)),
            Fault::Trap(error) => Err(error),
        }
    }
}

impl store::HostBucket for State {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, Fault> {
        self.kv_check(&bucket)?;
        Ok(self.kv_get(key).await?.map(Vec::from))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), Fault> {
        self.kv_check(&bucket)?;
        self.kv_write(vec![(key, value)], Vec::new()).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Fault> {
        self.kv_check(&bucket)?;
        self.kv_write(Vec::new(), vec![key]).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Fault> {
        self.kv_check(&bucket)?;
        Ok(self.kv_get(key).await?.is_some())
    }

    /// The cursor is the last key of the page before.
    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, Fault> {
        self.kv_check(&bucket)?;
        let (keys, more) = self.kv_list(cursor).await?;
        let cursor = keys.last().filter(|_| more).cloned();
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.kv_close(bucket)
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Fault> {
        self.kv_check(&bucket)?;
        self.kv_get_many(keys).await
    }

    /// The draft allows that only some are set; here it is all of them or none.
    async fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
        self.kv_check(&bucket)?;
        self.kv_write(key_values, Vec::new()).await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), Fault> {
        self.kv_check(&bucket)?;
        self.kv_write(Vec::new(), keys).await
    }
}

impl atomics::Host for State {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Result<i64, Fault> {
        self.kv_check(&bucket)?;
        self.kv_increment(key, delta).await
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let cas = self.kv_let_go(cas)?;
        Ok(match self.kv_swap(cas, value).await {
            Ok(None) => Ok(()),
            Ok(Some(newer)) => Err(atomics::CasError::CasFailed(newer)),
            Err(fault) => Err(atomics::CasError::StoreError(store::Host::convert_error(self, fault)?)),
        })
    }
}

impl atomics::HostCas for State {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, Fault> {
        self.kv_check(&bucket)?;
        self.kv_look(key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Fault> {
        let cas: &Cas = self.table.get(&cas)?;
        Ok(cas.expected.clone().map(Vec::from))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.kv_let_go(cas).map(drop)
    }
}
