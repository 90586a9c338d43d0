use taskhost_core::spec::Limit;

use super::*;

fn surroundings() -> Surroundings {
    Surroundings {
        data_home: Some("/home/a/.local/share".into()),
        config_home: None,
        runtime_dir: Some("/run/user/7".into()),
        cores: 4,
        passwd: "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n".to_owned(),
        group: "root:x:0:\noperators:x:2002:alice\n".to_owned(),
    }
}

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file
}

fn load_file(text: &str) -> Result<Config, String> {
    let file = file(text);
    let path = file.path().to_owned();
    let loaded = Config::load(Layer::default(), Some(path.clone()), nothing, &surroundings());
    loaded.map_err(|error| crate::chain(&error).replace(&path.display().to_string(), "FILE"))
}

#[test]
fn the_defaults_are_those_of_the_embedded_file_and_of_xdg() {
    let config = Config::load(Layer::default(), None, nothing, &surroundings()).expect("defaults do");
    let expected = Config {
        data_dir: "/home/a/.local/share/taskhost".into(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], taskhost_api::DEFAULT_PORT))],
        socket: Some("/run/user/7/taskhost.sock".into()),
        workers: 4,
        grace: Duration::from_secs(10),
        cancel_grace: Duration::from_secs(5),
        timer_slack: Duration::from_millis(1),
        timezone: Zone::utc(),
        echo: None,
        log: "info".to_owned(),
        access: AccessPolicy::default(),
        secrets_dir: None,
        ceilings: Ceilings::default(),
        memory_budget_bytes: None,
        wasi_0_3: false,
        grants: GrantRules::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn ceilings_and_rules_for_grants_stand_in_the_file() {
    let config = load_file(
        "secrets_dir = '/etc/taskhost/secrets'\nmemory_budget = '8GiB'\n[limits]\ntimeout = '5m'\nmax_running = 4\n\
         memory_bytes = '64MiB'\ncpu_ms = '5s'\nlog_lines = 1000\n[grants]\ndirs = ['/srv/tasks']\nsecrets = ['hook-key']\n\
         private_hosts = ['10.0.0.0/8:*']",
    )
    .expect("all do");
    let mut ceilings = Ceilings::default();
    (ceilings.timeout, ceilings.max_running) = (Some(Duration::from_secs(300)), Some(4));
    for (limit, most) in [(Limit::MemoryBytes, 64 << 20), (Limit::CpuMs, 5000), (Limit::LogLines, 1000)] {
        ceilings.set(limit, most).expect("in range");
    }
    assert_eq!(config.ceilings, ceilings);
    assert_eq!(config.memory_budget_bytes, Some(8 << 30));
    assert_eq!(config.secrets_dir, Some("/etc/taskhost/secrets".into()));
    let rules = GrantRules {
        dirs: vec!["/srv/tasks".into()],
        secrets: vec!["hook-key".to_owned()],
        private_hosts: vec!["10.0.0.0/8:*".parse().expect("a pattern")],
    };
    assert_eq!(config.grants, rules);
}

#[test]
fn secrets_are_where_the_setting_says_or_where_systemd_puts_them_or_beside_the_configuration() {
    let home = Surroundings { config_home: Some("/home/a/.config".into()), ..surroundings() };
    let dir = |own: Option<&'static str>, systemd: Option<&'static str>, home: &Surroundings| {
        let environment = |name: &str| match name {
            "TASKHOST_SECRETS_DIR" => own.map(OsString::from),
            "CREDENTIALS_DIRECTORY" => systemd.map(OsString::from),
            _ => None,
        };
        Config::load(Layer::default(), None, environment, home).expect("it does").secrets_dir
    };
    assert_eq!(dir(Some("/own"), Some("/run/credentials/x"), &home), Some("/own".into()));
    assert_eq!(dir(None, Some("/run/credentials/x"), &home), Some("/run/credentials/x".into()));
    assert_eq!(dir(None, None, &home), Some("/home/a/.config/taskhost/secrets".into()));
    assert_eq!(dir(Some(""), None, &home), None, "an empty one is none");
    assert_eq!(dir(None, None, &surroundings()), None);
}

#[test]
fn an_option_beats_the_environment_which_beats_the_file() {
    let file =
        file("grace = '1s'\nworkers = 1\nlog = 'warn'\n[access]\nusers = ['alice', '7']\ngroups = ['operators']");
    let environment = |name: &str| match name {
        "TASKHOST_CONFIG" => Some(file.path().into()),
        "TASKHOST_GRACE" => Some("2s".into()),
        "TASKHOST_WORKERS" => Some("2".into()),
        "TASKHOST_LISTEN" => Some("127.0.0.1:0, [::1]:0".into()),
        _ => None,
    };
    let options = Layer { grace: Some("3s".to_owned()), timer_slack: Some("0s".to_owned()), ..Layer::default() };
    let config = Config::load(options, None, environment, &surroundings()).expect("all do");
    assert_eq!(config.grace, Duration::from_secs(3));
    assert_eq!(config.workers, 2);
    assert_eq!(config.log, "warn");
    assert_eq!(config.timer_slack, Duration::ZERO);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.access, AccessPolicy { uids: vec![1001, 7], gids: vec![2002] });
}

#[test]
fn an_empty_socket_is_none() {
    let options = Layer { socket: Some(PathBuf::new()), ..Layer::default() };
    let config = Config::load(options.clone(), None, nothing, &surroundings()).expect("it does");
    assert_eq!(config.socket, None);
    let options = Layer { listen: Some(Vec::new()), ..options };
    let error = Config::load(options, None, nothing, &surroundings()).expect_err("no way in");
    assert_eq!(error.to_string(), "there is no address to listen on; give --listen or --socket");
}

#[test]
fn the_socket_of_another_host_than_the_usual_is_beside_its_data() {
    let options = Layer { data_dir: Some("/d".into()), ..Layer::default() };
    let config = Config::load(options, None, nothing, &surroundings()).expect("it does");
    assert_eq!(config.socket, Some("/d/taskhost.sock".into()));

    let no_runtime_dir = Surroundings { runtime_dir: None, ..surroundings() };
    let config = Config::load(Layer::default(), None, nothing, &no_runtime_dir).expect("it does");
    assert_eq!(config.socket, Some("/home/a/.local/share/taskhost/taskhost.sock".into()));

    let deep = Layer { data_dir: Some(format!("/{}", "d".repeat(100)).into()), ..Layer::default() };
    let config = Config::load(deep, None, nothing, &surroundings()).expect("it does");
    assert_eq!(config.socket, None, "the path is too long for a socket");
}

#[test]
fn a_wrong_value_is_told_with_its_place_even_if_it_is_hidden() {
    let errors: Vec<String> = [
        "listen = ['0.0.0.0:3333']",
        "listen = ['example']",
        "workers = 0",
        "data_dir = '~/data'",
        "grace = 'soon'",
        "grace = '2d'",
        "timer_slack = '1s'",
        "timer_slack = '-1ms'",
        "log = 'a=b=c'",
        "log = 'info,loud'",
        "[access]\nusers = ['mallory']",
        "[access]\nuser = ['alice']",
        "gracee = '1s'",
        "workers = 'two'",
        "secrets_dir = '~/secrets'",
        "memory_budget = '1KiB'",
        "memory_budget = '8GB'",
        "memory_budget = true",
        "[limits]\nmemory = 1",
        "[limits]\ncpu_ms = '64KiB'",
        "[limits]\nlog_lines = 0",
        "[limits]\ntimeout = '8d'",
        "[limits]\ntimeout = 5",
        "[limits]\nmax_running = 257",
        "[limits]\nmax_running = 'many'",
        "[grants]\ndirs = ['srv']",
        "[grants]\nsecrets = ['../key']",
        "[grants]\nprivate_hosts = ['10.0.0.0/8']",
        "[grants]\nprivate_hosts = ['example.com:80']",
        "[grants]\nfolders = ['/srv']",
    ]
    .into_iter()
    .map(|text| load_file(text).expect_err(text))
    .collect();
    insta::assert_snapshot!(errors.join("\n---\n"));

    let file = file("workers = 0");
    let hidden = Layer { workers: Some(2), ..Layer::default() };
    assert!(Config::load(hidden, Some(file.path().into()), nothing, &surroundings()).is_err());
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error = Config::load(Layer::default(), Some("/nowhere/config.toml".into()), nothing, &surroundings());
    let message = error.expect_err("no such file").to_string();
    assert_eq!(message, "failed to read the configuration file /nowhere/config.toml");
}

#[test]
fn the_environment_has_the_budget_and_wasi_0_3_too() {
    let load = |budget: &'static str, wasi: &'static str| {
        let environment = move |name: &str| match name {
            "TASKHOST_MEMORY_BUDGET" => Some(OsString::from(budget)),
            "TASKHOST_WASI_0_3" => Some(wasi.into()),
            _ => None,
        };
        Config::load(Layer::default(), None, environment, &surroundings())
    };
    let config = load("8GiB", "true").expect("it does");
    assert_eq!((config.memory_budget_bytes, config.wasi_0_3), (Some(8 << 30), true));
    assert!(load("1KiB", "true").is_err() && load("8GiB", "x").is_err());
}
