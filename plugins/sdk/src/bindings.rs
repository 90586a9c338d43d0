//! The contract in Rust, generated. The rest of the crate stands between it and the author, so that an author's code
//! does not change when the generator does.

wit_bindgen::generate!({
    path: [
        "../../wit/deps/config-0.2.0-rc.1",
        "../../wit/deps/keyvalue-0.2.0-draft2",
        "../../wit/deps/logging-0.1.0-draft",
        "../../wit/0.1.0",
        "wit",
    ],
    world: "taskhost:sdk/sdk",
    generate_all,
    pub_export_macro: true,
});
