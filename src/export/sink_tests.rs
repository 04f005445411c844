use std::io::Read as _;

use tokio::sync::mpsc;

use super::*;
use crate::export::agents::AskedAgents;
use crate::export::encoder::{FileFormat, FileRows};
use crate::export::progress::HistoryGoal;

const ROWS: &str = "{\"id\":\"b\",\"created_at\":\"2026-01-02T00:00:00\"}\n\n{\"id\":\"a\"}\n";
const END: &str = "{\"@end\":{\"complete\":true,\"count\":2,\"as_of\":\"2026-01-03T00:00:00Z\"}}\n";

/// Writes chunks; returns the outcome and the content of the file.
fn write(chunks: &[&str], format: FileFormat) -> (Result<ExportOutcome, SinkError>, String) {
    let asked = AskedAgents::parse(&["6f9619ff-8b86-4011-b42d-00cf4fc964ff"]).unwrap();
    let encoder = FileRows::new(format, &[], &asked).unwrap().encoder(&asked);
    let path = std::env::temp_dir().join(format!("fanfold-sink-{}", uuid::Uuid::new_v4()));
    let file = File::create_new(&path).unwrap();
    let meter = Arc::new(Meter::new(HistoryGoal::default()));
    let (say, hear) = mpsc::channel(chunks.len().max(1));
    for chunk in chunks {
        say.try_send(Bytes::copy_from_slice(chunk.as_bytes())).unwrap();
    }
    drop(say);
    let written = ExportSink::new(file, encoder, Arc::clone(&meter)).write_all(hear);
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(meter.reading().bytes, text.len() as u64);
    (written, text)
}

fn ending(chunks: &[&str]) -> Ending {
    write(chunks, FileFormat::Ndjson).0.unwrap().ending
}

#[test]
fn writes_rows_but_no_control_lines() {
    let (written, text) = write(&[ROWS, "{\"@new\":1}\n", END], FileFormat::Ndjson);
    let written = written.unwrap();
    assert_eq!(text, ROWS.replace("\n\n", "\n"));
    assert_eq!(written.rows, 2);
    assert_eq!(written.verdict().unwrap().as_of.as_deref(), Some("2026-01-03T00:00:00Z"));
}

#[test]
fn only_an_end_record_for_as_many_rows_makes_a_response_complete() {
    assert!(matches!(ending(&[ROWS, END]), Ending::Complete(_)));
    assert_eq!(ending(&[ROWS]), Ending::CutOff);
    assert_eq!(ending(&[ROWS, END.trim_end()]), Ending::CutOff, "an end record without its line feed");
    assert_eq!(ending(&[]), Ending::CutOff);
    assert_eq!(ending(&["{\"id\":\"b\"}\n", END]), Ending::Miscounted { said: 2, came: 1 });
    assert_eq!(ending(&[ROWS, "{\"@end\":{\"complete\":\"y\"}}\n"]), Ending::CutOff);
    let Ending::Failed(error) = ending(&[
        ROWS,
        "{\"@end\":{\"complete\":false,\"count\":2,\"error\":{\"code\":\"rate_limited\",\"detail\":\"no\"}}}\n",
    ]) else {
        panic!("failed")
    };
    assert_eq!((error.code.as_str(), error.detail.as_str()), ("rate_limited", "no"));
    assert!(matches!(ending(&[ROWS, "{\"@end\":{\"complete\":false,\"count\":2}}\n"]), Ending::Failed(_)));
}

#[test]
fn nothing_may_follow_the_end_record() {
    let (written, _) = write(&[ROWS, END, "{\"id\":\"c\"}\n"], FileFormat::Ndjson);
    assert!(matches!(written, Err(SinkError::Malformed(_))));
    assert!(matches!(ending(&[ROWS, END, "\n"]), Ending::Complete(_)), "blank lines are ignored");
}

#[test]
fn a_document_is_closed_only_when_it_is_complete() {
    let (_, whole) = write(&[ROWS, END], FileFormat::Json);
    assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok());
    let (_, cut) = write(&[ROWS], FileFormat::Json);
    assert!(serde_json::from_str::<serde_json::Value>(&cut).is_err());
}

#[test]
fn writes_the_rows_before_a_malformed_one() {
    let (written, text) = write(&[ROWS, "[1]\n"], FileFormat::Csv);
    assert!(matches!(written, Err(SinkError::Malformed(_))));
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn removals_are_written_and_counted() {
    let changes = "{\"@removed\":{\"id\":\"z\"}}\n{\"@end\":{\"complete\":true,\"count\":2,\"removed\":1,\"cursor\":\"c1.x\"}}\n";
    let (written, text) = write(&[ROWS, changes], FileFormat::Ndjson);
    assert!(
        matches!(written.unwrap().ending, Ending::Complete(end) if end.cursor.as_deref() == Some("c1.x"))
    );
    assert!(text.ends_with("{\"@removed\":{\"id\":\"z\"}}\n"));
}
