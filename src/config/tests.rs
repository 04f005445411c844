use std::ffi::OsString;

use super::*;
use crate::upstream::Fraction;

/// The command that a command line and some variables select.
fn read_with(line: &str, variables: &[(&str, &str)]) -> Result<Command, NothingToRun> {
    let args = line.split_whitespace().map(OsString::from);
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    read(args, variables)
}

fn serve_with(line: &str, variables: &[(&str, &str)]) -> Serve {
    match read_with(&format!("fanfold serve {line}"), variables) {
        Ok(Command::Serve(serve)) => *serve,
        other => panic!("{other:?}"),
    }
}

fn faults_with(line: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match read_with(line, variables) {
        Err(NothingToRun::SettingErrors(faults)) => faults.to_string().lines().map(str::to_owned).collect(),
        other => panic!("{other:?}"),
    }
}

fn help_of(line: &str) -> String {
    match read_with(line, &[]) {
        Err(NothingToRun::Asked(help)) => help,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_are_valid_settings() {
    let serve = serve_with("", &[]);
    assert_eq!(serve.listeners.public.to_string(), "0.0.0.0:8080");
    assert_eq!(serve.reading.fan_out, 8);
    assert_eq!(serve.reading.window, Some(std::time::Duration::from_secs(604_800)));
    assert_eq!(Some(serve.budget.refresh_reserve), Fraction::percent(20));
    assert_eq!(serve.cache_bytes, 512 << 20);
    assert!(serve.warnings.is_empty(), "{:?}", serve.warnings);
    assert!(matches!(read_with("fanfold simulate", &[]), Ok(Command::Simulate(_))));
    assert!(matches!(read_with("fanfold demo", &[]), Ok(Command::Demo(_))));
}

#[test]
fn reports_every_fault_at_once() {
    let faults = faults_with(
        "fanfold serve --fan-out 0 --fanout 3 --window 1s --live-ttl 5x --upstream-rate many --listen",
        &[
            ("FANFOLD_CACHE_BYTES", "1MB"),
            ("FANFOLD_FANOUT", "3"),
            ("FANFOLD_CORS_ORIGIN", "https://a.example,b.example"),
        ],
    );
    let subjects: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(
        subjects,
        [
            "FANFOLD_FANOUT",
            "--fanout",
            "--listen",
            "--upstream-rate",
            "--fan-out",
            "--window",
            "--live-ttl",
            "FANFOLD_CACHE_BYTES",
            "FANFOLD_CORS_ORIGIN",
        ],
        "{faults:#?}"
    );
}

#[test]
fn a_flag_overrides_its_variable_which_overrides_the_default() {
    let variables = [("FANFOLD_FAN_OUT", "5"), ("FANFOLD_LIVE_TTL", "3s")];
    let serve = serve_with("--fan-out 6", &variables);
    assert_eq!(serve.reading.fan_out, 6);
    assert_eq!(serve.reading.live_ttl.as_secs(), 3);
    assert_eq!(serve.reading.settling_ttl.as_secs(), 120);
}

#[test]
fn a_flag_given_twice_is_a_fault_unless_it_is_repeatable() {
    assert_eq!(
        faults_with("fanfold serve --fan-out 6 --fan-out 7", &[]),
        ["--fan-out: given more than once"]
    );
    let serve = serve_with("--cors-origin https://a.example --cors-origin https://b.example", &[]);
    assert_eq!(serve.answers.cors_origins, ["https://a.example", "https://b.example"]);
    let serve = serve_with("", &[("FANFOLD_CORS_ORIGIN", "https://a.example, https://b.example")]);
    assert_eq!(serve.answers.cors_origins.len(), 2);
}

#[test]
fn variables_of_another_command_are_known() {
    assert!(read_with("fanfold serve", &[("FANFOLD_REQUIRE_WINDOW", "false")]).is_ok());
    assert!(read_with("fanfold token new --name a --agents *", &[("FANFOLD_FAN_OUT", "x")]).is_ok());
}

#[test]
fn no_setting_has_the_name_of_a_variable_that_kubernetes_injects() {
    // For a Service called fanfold, Kubernetes injects FANFOLD_SERVICE_HOST, FANFOLD_PORT_8080_TCP and others.
    let collides = |variable: &String| environment::is_injected(variable);
    assert_eq!(known_variables().into_iter().filter(collides).collect::<Vec<_>>(), [""; 0]);
    for taken in ["service-name", "port", "port-range", "portal"] {
        assert!(collides(&Flag::new(taken, "X", "", "").variable().unwrap()), "{taken}");
    }
}

#[test]
fn settings_contain_no_secret_from_a_file() {
    let folder = std::env::temp_dir().join(format!("fanfold-settings-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (key, tokens) = (file("key", "bn-secret"), file("tokens", "a 0"));
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example");
    let serve =
        serve_with(&format!("--upstream-key-file {key} --client-tokens-file {tokens}"), &[headers, endpoint]);
    assert!(serve.traces.is_some() && !format!("{serve:?}").contains("secret"), "{serve:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn help_names_every_flag_with_its_variable_and_its_default() {
    for (line, table) in ["serve", "simulate", "demo", "token new"].into_iter().zip(TABLES) {
        // The help may be wrapped anywhere between words.
        let help = help_of(&format!("fanfold {line} --help"));
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for flag in table {
            assert!(
                help.contains(&format!("--{} ", flag.name)) || help.contains(&format!("--{}[=", flag.name))
            );
            if let Some(variable) = flag.variable() {
                assert!(help.contains(&format!("[env: {variable}]")), "{line}: {variable}");
            }
            if let Some(default) = flag.default {
                assert!(help.contains(&format!("[default: {default}]")), "{line}: {default}");
            }
        }
    }
}

#[test]
fn sends_credentials_over_plain_http_only_to_this_machine() {
    let faults = faults_with("fanfold serve --upstream-url http://api.example", &[]);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("--upstream-url: credentials would go over plain http"));
    for line in [
        "--upstream-url http://127.0.0.1:8081",
        "--upstream-url http://[::1]:8081",
        "--upstream-url http://localhost:8081",
        "--upstream-url http://api.example --upstream-insecure",
        "--upstream-url http://api.example --upstream-insecure=true",
    ] {
        serve_with(line, &[]);
    }
}

#[test]
fn a_host_that_only_looks_like_loopback_is_not() {
    for host in ["127.0.0.1.example", "localhost.example", "10.0.0.1"] {
        let line = format!("fanfold serve --upstream-url http://{host}");
        assert_eq!(faults_with(&line, &[]).len(), 1, "{host}");
    }
}

#[test]
fn a_token_expires_in_the_future() {
    let command = |expires: &str| format!("fanfold token new --name a --agents * --expires {expires}");
    assert!(read_with(&command("2999-01-01T00:00:00Z"), &[]).is_ok());
    let faults = faults_with(&command("2020-01-01T00:00:00Z"), &[]);
    assert_eq!(faults, ["--expires: \"2020-01-01T00:00:00Z\" is not an instant in the future"]);
}

#[test]
fn a_fault_does_not_repeat_a_password() {
    for (flag, url) in [
        ("tier-url", "redis://user:hush@redis.example.com:6379"),
        ("tier-url", "rediss://:hu/sh@a@redis.example.com"),
        ("upstream-url", "https://key:hush@api.example.com"),
    ] {
        let faults = faults_with(&format!("fanfold serve --{flag} {url}"), &[]).join("");
        assert!(faults.contains("://***@") && !faults.contains("hu"), "{faults}");
    }
}

#[test]
fn a_held_key_needs_tokens_and_tokens_need_a_held_key() {
    // Any file that exists and is not empty.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let faults = faults_with(&format!("fanfold serve --upstream-key-file {file}"), &[]);
    assert!(faults[0].contains("needs --client-tokens-file"), "{faults:?}");
    let faults = faults_with(&format!("fanfold serve --client-tokens-file {file}"), &[]);
    assert!(faults[0].contains("without --upstream-key-file"), "{faults:?}");
    let serve = serve_with(&format!("--client-tokens-file {file} --upstream-key-file {file}"), &[]);
    assert!(matches!(serve.upstream.keys, Keys::Held { .. }));
}

#[test]
fn never_repeats_a_secret_given_instead_of_its_file() {
    let faults = faults_with("fanfold serve", &[("FANFOLD_UPSTREAM_KEY_FILE", "bn-secret")]);
    assert!(!faults.is_empty() && !faults.concat().contains("bn-secret"), "{faults:?}");
}

#[test]
fn each_freshness_time_can_be_set_alone() {
    assert_eq!(serve_with("--live-ttl 10m", &[]).warnings.len(), 1);
    assert_eq!(serve_with("--live-ttl 3m --settled-ttl 1m", &[]).warnings.len(), 2);
    assert!(serve_with("--live-ttl 0s --settling-ttl 0s --settled-ttl 0s", &[]).warnings.is_empty());
}

#[test]
fn two_listeners_cannot_share_an_address() {
    assert_eq!(faults_with("fanfold serve --listen 127.0.0.1:9090", &[]).len(), 1);
    serve_with("--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", &[]);
    serve_with("--listen 127.0.0.1:9090 --admin-listen 127.0.0.2:9090", &[]);
}

#[test]
fn a_fan_out_above_the_upstream_concurrency_is_only_a_warning() {
    assert_eq!(serve_with("--fan-out 64", &[]).warnings.len(), 1);
}

#[test]
fn the_effective_settings_include_defaults() {
    let serve = serve_with("--fan-out 6", &[("FANFOLD_LIVE_TTL", "3s")]);
    let of = |name| serve.effective.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!((of("fan-out"), of("live-ttl"), of("window")), (Some("6"), Some("3s"), Some("7d")));
    assert_eq!(of("history-start"), None);
}

#[test]
fn suggests_a_command_for_an_unknown_one() {
    assert_eq!(faults_with("fanfold sevre", &[])[0], "sevre: no such command; did you mean serve?");
}

#[test]
fn without_a_command_the_help_lists_the_commands() {
    for (line, commands) in
        [("fanfold", &["serve", "simulate", "demo", "token"][..]), ("fanfold token", &["new"])]
    {
        let Err(NothingToRun::NoCommand(help)) = read_with(line, &[]) else { panic!("{line}") };
        assert!(commands.iter().all(|command| help.contains(&format!("\n  {command} "))), "{help}");
    }
    let faults = faults_with("fanfold", &[("FANFOLD_NONSENSE", "1")]);
    assert_eq!(faults, ["FANFOLD_NONSENSE: no such setting", "fanfold: no command given; see --help"]);
}

#[test]
fn accepts_valid_faults_and_rejects_invalid_ones() {
    match read_with("fanfold simulate --fault 429:0.05 --fault slow=3s:1%", &[]) {
        Ok(Command::Simulate(simulate)) => assert_eq!(simulate.faults.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(faults_with("fanfold simulate --fault 42 --fault :0.5 --fault 429:2", &[]).len(), 3);
}

#[test]
fn refuses_more_executions_than_fit_in_memory() {
    let faults = faults_with("fanfold simulate --agents 1000 --executions 1000000", &[]);
    assert_eq!(faults, ["--executions: more than 100000000 for all agents together"]);
}

#[test]
fn a_tier_needs_a_secret_and_a_command_may_need_a_tier() {
    let faults = faults_with("fanfold serve --tier-url file:///var/lib/fanfold", &[]);
    assert!(faults.len() == 1 && faults[0].contains("--tier-secret-file"), "{faults:?}");
    let secret = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let faults = faults_with(&format!("fanfold serve --tier-secret-file {secret}"), &[]);
    assert!(faults.len() == 1 && faults[0].contains("--tier-url"), "{faults:?}");
    let line = format!("--tier-url file:///var/lib/fanfold --tier-secret-file {secret}");
    let tier = serve_with(&line, &[("FANFOLD_TIER_BYTES", "1GiB")]).tier.unwrap();
    let directory = TierPlace::Directory { path: "/var/lib/fanfold".into(), bytes: 1 << 30 };
    assert_eq!(tier.place, directory);
    assert!(serve_with("", &[]).tier.is_none());
    assert!(matches!(read_with(&format!("fanfold tier check {line}"), &[]), Ok(Command::TierCheck(_))));
    assert!(faults_with("fanfold tier check", &[])[0].contains("--tier-url"));
}
