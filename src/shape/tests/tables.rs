//! Tables, read back with the `csv` crate.

use ::csv::ReaderBuilder;
use proptest::prelude::*;

use super::reference;
use super::*;
use crate::shape::csv::{DEFAULT_COLUMNS, Table};
use crate::shape::excel;

fn table(fields: &str) -> Table {
    Table::new(&Fields::parse(&[fields]).unwrap())
}

fn text(fields: &str, rows: &[&str]) -> String {
    let (table, mut out) = (table(fields), Vec::new());
    table.write_header(&mut out);
    for row in rows {
        table.write_row(row.as_bytes(), agent(), &mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn read_back(text: &str) -> Vec<Vec<String>> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_cell_is_the_text_of_a_string_and_the_literal_of_anything_else() {
    let row = r#"{"s":"a \"b\", c\nd\u0000","n":12.710,"t":true,"z":null,"o":{"x": [1,"y"]},"bad":"\ud83d!","e":""}"#;
    let text = text("s,n,t,z,o,bad,e,nowhere,@agent_id", &[row]);
    assert!(
        text.starts_with("\"s\",\"n\",\"t\",\"z\",\"o\",\"bad\",\"e\",\"nowhere\",\"@agent_id\"\r\n"),
        "{text}"
    );
    let lines = read_back(&text);
    assert_eq!(
        lines[1],
        [
            "a \"b\", c\nd\0",
            "12.710",
            "true",
            "",
            "{\"x\": [1,\"y\"]}",
            "\"\\ud83d!\"",
            "",
            "",
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
        ]
    );
}

#[test]
fn a_table_alters_no_cell_for_spreadsheets() {
    let row = r#"{"a":"+919876543210","b":"=1+1","c":"-5","d":"0017","e":" x "}"#;
    assert_eq!(text("a,b,c,d,e", &[row]).lines().nth(1), Some("+919876543210,=1+1,-5,0017, x "));
}

#[test]
fn every_kind_of_line_break_is_quoted() {
    for inside in [r"a\rb", r"\r", r"a\n", r"a\r\nb", r#"a\"b"#, ","] {
        let text = text("a,b", &[&format!("{{\"a\":\"{inside}\"}}")]);
        let expected = reference::decode(&format!("\"{inside}\""));
        assert_eq!(read_back(&text)[1][0].as_bytes(), expected, "{inside}");
        assert!(text.lines().nth(1).unwrap().starts_with('"'), "{inside}");
    }
}

#[test]
fn a_table_of_one_column_has_no_blank_line() {
    let text = text("a", &["{}", r#"{"a":""}"#, r#"{"a":null}"#, r#"{"a":1}"#]);
    assert_eq!(text, "\"a\"\r\n\"\"\r\n\"\"\r\n\"\"\r\n1\r\n");
}

#[test]
fn no_two_columns_have_the_same_name() {
    let names: Vec<_> = table(r#"a.b,"a.b","Notes\r""#).names().map(str::to_owned).collect();
    assert_eq!(names, ["a.b", r#""a.b""#, r#""Notes\r""#]);
    assert_eq!(text(r#"a.b,"a.b""#, &[r#"{"a":{"b":1},"a.b":2}"#]), "\"a.b\",\"\"\"a.b\"\"\"\r\n1,2\r\n");
}

#[test]
fn the_default_columns_have_no_long_texts() {
    let fields = Fields::parse(&[DEFAULT_COLUMNS]).unwrap();
    let default = Table::new(&fields);
    assert_eq!(default.names().collect::<Vec<_>>(), DEFAULT_COLUMNS.split(',').collect::<Vec<_>>());
    assert_eq!(default.names().count(), 28);
    assert_ne!(default.form(), fields.form());
    assert!(!DEFAULT_COLUMNS.contains("transcript,"));
}

#[test]
fn the_agent_id_becomes_the_first_column() {
    let names = |fields| table(fields).with_agent_id().names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names("id"), ["@agent_id", "id"]);
    assert_eq!(names("id,@agent_id"), ["id", "@agent_id"]);
    assert_eq!(names("agent_id"), ["@agent_id", "agent_id"]);
    assert_ne!(table("id").form(), table("id").with_agent_id().form());
}

#[test]
fn excel_reads_digits_as_text_and_no_formulas() {
    for (value, cell) in [
        (Some(r#""+919876543210""#), "=\"+919876543210\""),
        (Some(r#""08041234567""#), "=\"08041234567\""),
        (Some(r#""0017""#), "=\"0017\""),
        (Some("4010"), "4010"),
        (Some("-5"), "-5"),
        (Some(r#""-5""#), "'-5"),
        (Some(r#""=1+1""#), "'=1+1"),
        (Some(r#""@SUM(A1)""#), "'@SUM(A1)"),
        (Some(r#""\tx""#), "'\tx"),
        (Some(r#""+91 98765""#), "'+91 98765"),
        (Some(r#""+""#), "'+"),
        (Some(r#""plain""#), "plain"),
        (Some(r#""\ud83d""#), r#""\ud83d""#),
        (Some("null"), ""),
        (None, ""),
    ] {
        assert_eq!(excel::cell(value), cell, "{value:?}");
    }
}

#[test]
fn an_excel_table_is_utf_16_with_tabs() {
    let mut out = excel::BYTE_ORDER_MARK.to_vec();
    excel::write_header(["@agent_id", "b"], &mut out);
    excel::write_record(
        [Some(r#""+91""#), Some(r#""a\tb""#), Some(r#""é🙂""#), None].map(excel::cell),
        &mut out,
    );
    let units: Vec<_> = out.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let text = String::from_utf16(&units).unwrap();
    assert_eq!(text, "\u{feff}\"'@agent_id\"\t\"b\"\r\n\"=\"\"+91\"\"\"\t\"a\tb\"\té🙂\t\r\n");
}

proptest! {
    #[test]
    fn reads_back_any_cell(texts in prop::collection::vec("[a ,\"\r\n\t\\x00é🙂=+\\-\u{2028}\u{85}\u{feff}]{0,6}", 1..4)) {
        let names: Vec<_> = (0..texts.len()).map(|at| format!("k{at}")).collect();
        let members = names.iter().zip(&texts).map(|(name, text)| format!("\"{name}\":{}", serde_json::to_string(text).unwrap()));
        let row = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let lines = read_back(&text(&names.join(","), &[&row, &row]));
        prop_assert_eq!(&lines[1], &texts);
        prop_assert_eq!(&lines[2], &texts);
    }
}
