//! The contract in Rust, generated. The rest of the crate stands between it and the author, so that an author's code
//! does not change when the generator does.

wit_bindgen::generate!({
    path: ["../../wit/0.1.0", "wit"],
    world: "taskhost:sdk/sdk",
    generate_all,
    pub_export_macro: true,
});
