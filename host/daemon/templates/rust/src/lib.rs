//! A taskhost plugin: greets whom the setting `name` says, and counts how often.

use taskhost_plugin::{Failure, Tick, config, kv, println};

taskhost_plugin::plugin!(run);

fn run(tick: Tick) -> Result<String, Failure> {
    let name = config::get("name")?.unwrap_or_else(|| "world".to_owned());
    println!("hello {name}, it is {}", tick.due_local);
    Ok(format!("greeted {} times", kv::increment("greeted", 1)?))
}

#[cfg(test)]
mod tests {
    use taskhost_plugin::testing::{Host, tick};

    use super::*;

    #[test]
    fn it_greets_whom_it_is_told_and_counts() {
        let host = Host::new().config("name", "Ada").kv([("greeted", "2")]);
        let answer = host.run(tick("{{name}}"), run);
        assert_eq!(answer, Ok(Some("greeted 3 times".to_owned())));
        assert_eq!(host.printed(), ["hello Ada, it is 2030-01-01T00:00:00Z"]);
    }
}
