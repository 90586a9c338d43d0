//! Definitions of tasks and changes of them, as they are sent.
//!
//! The first line of an input is the parameter of `TaskUnit.Add`, each further one that of `TaskUnit.Edit`. Nothing here names a
//! member: it works over the types of the wire and of the core.

use futures_util::FutureExt;
use jsonrpsee::RpcModule;
use jsonrpsee::types::ErrorObjectOwned;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use taskhost_api::{AddRequest, AddTask, EditRequest, ErrorData, Spec};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::TaskSpec;
use taskhost_daemon::fuzzing::{added, answer, edited, sent};

use super::check_message;

/// What the tasks are called when they are shown.
const NAME: &str = "a";

/// How many edits of one input are made.
const MAX_EDITS: usize = 8;

pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut lines = text.lines();
    let Some(request) = lines.next().and_then(decode::<AddTask>) else { return };
    let request = match request {
        AddTask::Name(name) => AddRequest { name, ..AddRequest::default() },
        AddTask::Spec(request) => *request,
    };
    let zone = Zone::parse("Europe/Berlin").expect("a zone");
    let mut spec = match added(request, &zone) {
        Ok(spec) => spec,
        Err(error) => return check_refusal(&error),
    };
    check_spec(&spec);
    for request in lines.take(MAX_EDITS).filter_map(decode::<EditRequest>) {
        match edited(spec.clone(), request.clone(), &zone) {
            Ok(new) => {
                assert_eq!(
                    edited(new.clone(), request, &zone).as_ref(),
                    Ok(&new),
                    "the same edit again changes nothing"
                );
                let differences = sent(NAME, &spec, false).differences(&sent(NAME, &new, false));
                assert_eq!(differences.is_empty(), spec == new, "{differences:?}");
                check_spec(&new);
                spec = new;
            }
            Err(error) => check_refusal(&error),
        }
    }
}

/// A parameter as a handler gets it. Where it is refused, what the caller is told is checked.
fn decode<T: DeserializeOwned + 'static>(line: &str) -> Option<T> {
    let parameter: &RawValue = serde_json::from_str(line).ok()?;
    let mut module = RpcModule::new(());
    module.register_method("read", |params, _, _| params.one::<T>().map(|_| true)).expect("the only method");
    let message = format!(r#"{{"id":1,"method":"read","params":[{parameter}]}}"#);
    let answered = answer(module.into(), message.as_bytes()).now_or_never().expect("nothing is waited for");
    let answered = answered.expect("a call is answered");
    let value: serde_json::Value = serde_json::from_str(answered.get()).expect("an answer is JSON");
    let read = serde_json::from_str::<T>(line);
    match value["error"].as_str() {
        Some(error) => {
            check_message(error);
            // Nothing at all is an object without members to a handler, and no text at all to `from_str`.
            assert!(read.is_err(), "refused by the handler only: {error}");
            None
        }
        None => read.ok(),
    }
}

fn check_refusal(error: &ErrorObjectOwned) {
    check_message(error.message());
    let data: ErrorData = serde_json::from_str(error.data().expect("it has data").get()).expect("with a name");
    data.hint.iter().for_each(|hint| check_message(hint));
}

/// A definition that was accepted reads back the same: as it is stored, and as it is sent.
fn check_spec(spec: &TaskSpec) {
    let stored = serde_json::to_string(spec).expect("a definition is JSON");
    assert_eq!(&serde_json::from_str::<TaskSpec>(&stored).expect(&stored), spec);
    check_sent(spec, false);
    let effective = spec.effective();
    assert_eq!(effective.effective(), effective);
    check_sent(&effective, true);
}

fn check_sent(spec: &TaskSpec, with_empty: bool) {
    let shown = sent(NAME, spec, with_empty);
    let json = serde_json::to_string(&shown).expect("a definition is JSON");
    assert_eq!(serde_json::from_str::<Spec>(&json).expect(&json), shown);
    // What is shown can be added elsewhere, in another time zone, and is the same task.
    let request: AddRequest = serde_json::from_str(&json).expect(&json);
    assert_eq!(added(request, &Zone::utc()).as_ref(), Ok(spec), "{json}");
}
