use std::ffi::OsString;

use super::super::{Command, NothingToRun, read as read_command};
use super::*;
use crate::config::export_flags::flags;

const AGENT: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";

/// Any file that exists and is not empty.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

fn read_with(line: &str, variables: &[(&str, &str)]) -> Result<Command, NothingToRun> {
    let args = ["fanfold", "export"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    read_command(args, variables)
}

fn export_with(line: &str, variables: &[(&str, &str)]) -> Export {
    let line = format!("--agent {AGENT} --output out.csv {line}");
    match read_with(&line, variables) {
        Ok(Command::Export(export)) => *export,
        other => panic!("{other:?}"),
    }
}

fn through(line: &str) -> Export {
    export_with(&format!("--gateway http://127.0.0.1:8080 --token-file {FILE} {line}"), &[])
}

fn faults_with(line: &str) -> Vec<String> {
    let line = format!("--agent {AGENT} --output out.csv --gateway https://g --token-file {FILE} {line}");
    faults_of(&line)
}

fn faults_of(line: &str) -> Vec<String> {
    match read_with(line, &[]) {
        Err(NothingToRun::SettingErrors(faults)) => faults.to_string().lines().map(str::to_owned).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_question_becomes_one_request() {
    let export = through(
        "--format ndjson --from 2026-11-01 --time-zone Asia/Kolkata --status busy,failed --status error --limit 7 --omit transcript",
    );
    assert_eq!(
        export.question.target(),
        format!(
            "/agents/{AGENT}/executions/all?format=ndjson&end_record=true&from=2026-11-01&time_zone=Asia%2FKolkata&limit=7\
             &status=busy%2Cfailed&status=error&omit=transcript"
        )
    );
    let fields = through("--format json --fields id,a.\"b+c\" --fields status");
    assert!(fields.question.target().ends_with("&fields=id%2Ca.%22b%2Bc%22&fields=status"));
}

#[test]
fn agents_are_one_several_or_all() {
    let other = AGENT.replace('6', "7");
    let target = |agents: &str| {
        let line = format!("{agents} --output - --gateway https://g --token-file {FILE}");
        match read_with(&line, &[]) {
            Ok(Command::Export(export)) => export.question.target(),
            other => panic!("{other:?}"),
        }
    };
    let several = format!("/agents/{AGENT},{other}/executions/all?");
    assert!(target(&format!("--agent {AGENT},{other}")).starts_with(&several));
    assert!(target(&format!("--agent {AGENT} --agent {other}")).starts_with(&several));
    assert!(target("--agent all").starts_with("/agents/all/executions/all?"));
    for wrong in ["--agent nobody", "--agent all,all", "--agent ../x", ""] {
        let line = format!("{wrong} --output - --gateway https://g --token-file {FILE}");
        assert_eq!(faults_of(&line).len(), 1, "{wrong}");
    }
}

#[test]
fn the_format_is_given_or_follows_from_the_files_name() {
    let format = |line: &str| through(line).question.rows.format();
    assert_eq!(format(""), FileFormat::Csv);
    assert_eq!(format("--format json"), FileFormat::Json);
    assert_eq!(format("--excel"), FileFormat::Excel);
    assert_eq!(format("--excel --format csv"), FileFormat::Excel);
    assert!(faults_with("--excel --format json")[0].starts_with("--excel: "));
    assert!(faults_with("--omit a")[0].starts_with("--omit: "));
    assert!(faults_with("--omit a --fields b")[0].starts_with("--omit: "));
    assert_eq!(faults_with("--fields a,a"), ["--fields: `a` is given twice"]);
}

#[test]
fn rows_come_through_a_gateway_or_from_upstream() {
    let own = export_with(&format!("--upstream-key-file {FILE} --upstream-rate 20/min --fan-out 3"), &[]);
    let ExportSource::Upstream { serve, .. } = own.source else { panic!("{own:?}") };
    assert_eq!((serve.reading.fan_out, serve.cache_bytes), (3, 16 << 20));
    assert!(matches!(serve.upstream.keys, crate::config::Keys::PassedThrough));
    assert_eq!(Some(serve.budget.refresh_reserve), Fraction::percent(0));

    let both = format!("--upstream-key-file {FILE}");
    assert!(faults_with(&both)[0].starts_with("--upstream-key-file: "));
    // As in the container of a gateway that holds the key.
    let gateway = format!("--gateway http://127.0.0.1:8080 --token-file {FILE}");
    let export =
        export_with(&gateway, &[("FANFOLD_UPSTREAM_KEY_FILE", FILE), ("FANFOLD_CLIENT_TOKENS_FILE", FILE)]);
    assert!(matches!(export.source, ExportSource::Gateway { .. }));
    let neither = faults_of(&format!("--agent {AGENT} --output -"));
    assert!(neither[0].starts_with("--gateway: is required"), "{neither:?}");
}

#[test]
fn a_fault_of_an_engine_setting_names_its_flag() {
    let line = format!("--agent {AGENT} --output - --upstream-key-file {FILE} --window 1s --format x");
    let faults = faults_of(&line);
    let subjects: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(subjects, ["--format", "--window"]);
}

#[test]
fn a_token_goes_over_plain_http_only_to_this_machine() {
    let line = |url: &str| format!("--agent {AGENT} --output - --token-file {FILE} --gateway {url}");
    let faults = faults_of(&line("http://fanfold"));
    assert!(faults[0].starts_with("--gateway: the token would go over plain http"), "{faults:?}");
    for fine in ["https://fanfold", "http://[::1]:1", "http://fanfold --gateway-insecure"] {
        assert!(read_with(&line(fine), &[]).is_ok(), "{fine}");
    }
}

#[test]
fn help_names_every_flag_of_an_export() {
    let Err(NothingToRun::Asked(help)) = read_with("--help", &[]) else { panic!("help") };
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in flags() {
        assert!(help.contains(&format!("--{} ", flag.name)) || help.contains(&format!("--{}[=", flag.name)));
    }
    assert!(help.contains("[default: 16MiB]") && help.contains("141"), "{help}");
}

#[test]
fn changes_are_exported_as_lines_from_a_gateway() {
    let export = through("--format ndjson --cursor-file c --fields id,status");
    assert_eq!(export.cursor_file, Some(PathBuf::from("c")));
    assert_eq!(
        export.question.changes_target(Some("c1.x")),
        format!("/agents/{AGENT}/executions/changes?format=ndjson&since=c1.x&fields=id%2Cstatus")
    );
    assert!(faults_with("--cursor-file c")[0].starts_with("--cursor-file: writes changes as NDJSON"));
    assert!(faults_with("--cursor-file c --format ndjson --limit 5")[0].starts_with("--limit: "));
    let own = format!("--agent {AGENT} --output - --cursor-file c --upstream-key-file {FILE}");
    assert!(faults_of(&own)[0].starts_with("--cursor-file: needs --gateway"));
}

#[test]
fn a_terminal_without_a_type_is_dumb() {
    let terminal =
        |variables: &[(&str, &str)]| export_with(&format!("--upstream-key-file {FILE}"), variables).terminal;
    assert_eq!(terminal(&[("TERM", "xterm")]), TerminalKind::Usual);
    for variables in [&[][..], &[("TERM", "")], &[("TERM", "dumb")]] {
        assert_eq!(terminal(variables), TerminalKind::Dumb);
    }
}
