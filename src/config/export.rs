//! The settings of `export`.

use std::ffi::OsString;
use std::path::PathBuf;

use reqwest::Url;

use super::export_flags::ENGINE;
use super::faults::SettingErrors;
use super::reader::SettingsReader;
use super::serve::log;
use super::settings::{LogSettings, Serve};
use super::traces::Traces;
use super::values::{self, Parsed};
use super::{checks, serve, serve_flags};
use crate::export::{AskedAgents, ExportQuestion, FileFormat, FileRows};
use crate::upstream::{Fraction, is_loopback};

/// Flags with one value that become parameters of the request, with the parameter's name.
const PARAMETERS: [(&str, &str); 7] = [
    ("from", "from"),
    ("to", "to"),
    ("time-zone", "time_zone"),
    ("call-type", "call_type"),
    ("provider", "provider"),
    ("answered-by-voice-mail", "answered_by_voice_mail"),
    ("batch-id", "batch_id"),
];

/// The settings of `export`.
#[derive(Clone, Debug)]
pub struct Export {
    /// Which rows are exported, and in which form.
    pub question: ExportQuestion,
    /// Where rows are written.
    pub output: ExportOutput,
    /// Where rows are read.
    pub source: ExportSource,
    /// The file with the last run's cursor; `None` to export everything.
    pub cursor_file: Option<PathBuf>,
    /// Whether to show progress.
    pub progress: ProgressMode,
    /// What the terminal can do, if there is one.
    pub terminal: TerminalKind,
    /// What is logged.
    pub log: LogSettings,
}

/// What a terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalKind {
    /// It can overwrite a line.
    Usual,
    /// It can only add lines (`TERM=dumb`, or no `TERM`).
    Dumb,
}

/// Where rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportOutput {
    /// Standard output.
    Stdout,
    /// A file, which gets its name once it is complete.
    File(PathBuf),
}

/// Where rows are read.
#[derive(Clone, Debug)]
pub enum ExportSource {
    /// Through a gateway.
    Gateway {
        /// Its base URL.
        url: Url,
        /// The file with the caller's credential.
        token_file: PathBuf,
    },
    /// From upstream, by a gateway in this process.
    Upstream {
        /// Its settings.
        serve: Box<Serve>,
        /// The file with upstream's key.
        key_file: PathBuf,
    },
}

/// When progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Unless rows go to the same terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the terminal can do, by the environment.
pub(super) fn terminal(variables: &[(OsString, OsString)]) -> TerminalKind {
    let term = variables.iter().find(|(name, _)| name == "TERM").map(|(_, value)| value);
    if term.is_none_or(|term| term.is_empty() || term == "dumb") {
        TerminalKind::Dumb
    } else {
        TerminalKind::Usual
    }
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader, terminal: TerminalKind) -> Result<Export, SettingErrors> {
    let read = &mut reader;
    let output = read.one("output", output);
    let (question, source) = (question(read, output.as_ref()), source(read));
    let cursor_file = read.optional("cursor-file", values::file);
    if let Some(Some(_)) = cursor_file {
        check_changes(read, question.as_ref(), source.as_ref());
    }
    let progress = read.one("progress", progress);
    let log = log(read);
    let export = Some(()).and_then(|()| {
        Some(Export {
            question: question?,
            output: output?,
            source: source?,
            cursor_file: cursor_file?,
            progress: progress?,
            terminal,
            log: log?,
        })
    });
    reader.finish(export)
}

fn question(read: &mut SettingsReader, output: Option<&ExportOutput>) -> Option<ExportQuestion> {
    let agents = read.many("agent", text);
    let agents = agents.and_then(|values| {
        let agents = AskedAgents::parse(&values);
        if agents.is_none() {
            read.fault(
                "agent",
                if values.is_empty() {
                    "is required"
                } else {
                    "accepted are UUIDs separated by commas, or all"
                },
            );
        }
        agents
    });
    let (fields, omit) = (read.many("fields", text), read.many("omit", text));
    let (format, excel) = (read.optional("format", format), read.one("excel", values::switch));
    let format = format.zip(excel).and_then(|(format, excel)| file_format(read, format, excel, output));
    let mut parameters = Some(Vec::new());
    let mut add = |name, values: Option<Vec<String>>| match (parameters.as_mut(), values) {
        (Some(parameters), Some(values)) => parameters.extend(values.into_iter().map(|value| (name, value))),
        _ => parameters = None,
    };
    for (flag, name) in PARAMETERS {
        add(name, read.optional(flag, text).map(|value| value.into_iter().collect()));
    }
    let limit = read.optional("limit", values::count);
    add("limit", limit.map(|limit| limit.iter().map(ToString::to_string).collect()));
    add("status", read.many("status", text));
    let is_table = format.is_some_and(FileFormat::is_table);
    if omit.as_ref().is_some_and(|omit| !omit.is_empty()) {
        if fields.as_ref().is_some_and(|fields| !fields.is_empty()) {
            read.fault("omit", "can't be used together with --fields");
        } else if is_table {
            read.fault("omit", "a table has columns: choose them with --fields");
        }
    }
    add("omit", omit);
    let (agents, format, fields, parameters) = (agents?, format?, fields?, parameters?);
    match FileRows::new(format, &fields, &agents) {
        Ok(rows) => Some(ExportQuestion { agents, parameters, rows }),
        Err(error) => {
            read.fault("fields", error.to_string());
            None
        }
    }
}

/// With `--cursor-file`, changes are written as lines, and a gateway has to remember what changed.
fn check_changes(
    read: &mut SettingsReader,
    question: Option<&ExportQuestion>,
    source: Option<&ExportSource>,
) {
    if let Some(ExportSource::Upstream { .. }) = source {
        read.fault("cursor-file", "needs --gateway, which remembers what changed; this process does not");
    }
    if question.is_some_and(|question| question.rows.format() != FileFormat::Ndjson) {
        read.fault("cursor-file", "writes changes as NDJSON: use --format ndjson");
    }
    if question.is_some_and(|question| question.parameter("limit").is_some()) {
        read.fault("limit", "can't be used together with --cursor-file");
    }
}

fn file_format(
    read: &mut SettingsReader,
    given: Option<FileFormat>,
    is_excel: bool,
    output: Option<&ExportOutput>,
) -> Option<FileFormat> {
    let by_name = || match output {
        Some(ExportOutput::File(path)) => FileFormat::of_name(&path.to_string_lossy()),
        Some(ExportOutput::Stdout) | None => None,
    };
    match (given, is_excel) {
        (None | Some(FileFormat::Csv), true) => Some(FileFormat::Excel),
        (Some(_), true) => {
            read.fault("excel", "is a table: leave --format out, or use --format csv");
            None
        }
        (Some(format), false) => Some(format),
        (None, false) => Some(by_name().unwrap_or(FileFormat::Ndjson)),
    }
}

fn source(read: &mut SettingsReader) -> Option<ExportSource> {
    let (gateway, token_file) =
        (read.optional("gateway", values::url), read.optional("token-file", values::file));
    let key_file = read.optional("upstream-key-file", values::file);
    let is_insecure = read.one("gateway-insecure", values::switch);
    let (gateway, token_file, key_file) = (gateway?, token_file?, key_file?);
    match (gateway, token_file, key_file) {
        (Some(_), _, Some(_)) if read.source("upstream-key-file").starts_with("--") => {
            read.fault("upstream-key-file", "is for an export without --gateway, which has the key itself");
            None
        }
        (Some(url), Some(token_file), _) => {
            checks::readable(read, "token-file", &token_file);
            if url.scheme() == "http" && !is_insecure? && !url.host_str().is_some_and(is_loopback) {
                let problem = "the token would go over plain http: use https, or --gateway-insecure on a network you trust";
                read.fault("gateway", problem);
            }
            Some(ExportSource::Gateway { url, token_file })
        }
        (Some(_), None, _) => {
            read.fault("token-file", "is required with --gateway");
            None
        }
        (None, _, Some(key_file)) => {
            checks::readable(read, "upstream-key-file", &key_file);
            let serve = Box::new(engine(read)?);
            Some(ExportSource::Upstream { serve, key_file })
        }
        (None, _, None) => {
            read.fault("gateway", "is required, or --upstream-key-file to read upstream directly");
            None
        }
    }
}

/// The settings of the gateway in this process, which passes the export's key through.
fn engine(read: &mut SettingsReader) -> Option<Serve> {
    // With `--upstream-key-file`, that gateway would require tokens.
    let names: Vec<_> = ENGINE.into_iter().filter(|name| *name != "upstream-key-file").collect();
    let given = read.for_flags(serve_flags::FLAGS, &names);
    match serve::read(given, Traces::default()) {
        Ok(mut serve) => {
            // An export refreshes nothing, so the whole budget is for rows that were never read.
            serve.budget.refresh_reserve = Fraction::percent(0)?;
            Some(serve)
        }
        Err(faults) => {
            read.extend(faults);
            None
        }
    }
}

fn text(text: &str) -> Parsed<String> {
    Ok(text.to_owned())
}

fn format(text: &str) -> Parsed<FileFormat> {
    match text {
        "ndjson" => Ok(FileFormat::Ndjson),
        "csv" => Ok(FileFormat::Csv),
        "json" => Ok(FileFormat::Json),
        _ => Err("ndjson, csv or json".to_owned()),
    }
}

fn output(text: &str) -> Parsed<ExportOutput> {
    match text {
        "-" => Ok(ExportOutput::Stdout),
        "" => Err("the path of a file, or -".to_owned()),
        _ => Ok(ExportOutput::File(PathBuf::from(text))),
    }
}

fn progress(text: &str) -> Parsed<ProgressMode> {
    match text {
        "auto" => Ok(ProgressMode::Auto),
        "always" => Ok(ProgressMode::Always),
        "never" => Ok(ProgressMode::Never),
        _ => Err("auto, always or never".to_owned()),
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
