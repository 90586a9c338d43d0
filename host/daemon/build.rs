//! The folders that are built in: `include_dir` does not tell cargo of them.

fn main() {
    for folder in ["templates", "../../wit", "../../plugins/sdk"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
