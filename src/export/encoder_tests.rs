use serde_json::Value;

use super::*;

const ONE: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
const OTHER: &str = "7f9619ff-8b86-4011-b42d-00cf4fc964ff";
const ROWS: [&str; 2] = [
    "{\"id\":\"b\",\"to\":\"+919876543210\",\"cost\":12.710,\"who\":\"a, \\\"b\\\"\"}",
    "{\"id\":\"a\",\"to\":null,\"cost\":-0.0,\"who\":\"=1+1\"}",
];

fn agents(text: &str) -> AskedAgents {
    AskedAgents::parse(&[text]).unwrap()
}

fn end(has_more: bool) -> ReadVerdict {
    let agents = format!("[{{\"agent_id\":\"{ONE}\",\"complete\":true,\"count\":1,\"as_of\":\"s\"}}]");
    let text = format!(
        "{{\"complete\":true,\"count\":2,\"as_of\":\"t\",\"has_more\":{has_more},\"agents\":{agents}}}"
    );
    serde_json::from_str(&text).unwrap()
}

/// A file of both rows; with several agents, each has one of them.
fn file(format: FileFormat, fields: &[&str], asked: &AskedAgents, has_more: bool) -> Vec<u8> {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    let mut encoder = FileRows::new(format, &fields, asked).unwrap().encoder(asked);
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (row, agent) in ROWS.iter().zip([ONE, OTHER]) {
        if asked.are_several() {
            encoder.agent(agent.parse().unwrap(), &mut out);
        }
        encoder.row(row.as_bytes(), &mut out).unwrap();
    }
    encoder.end(&end(has_more), &mut out);
    out
}

fn text(format: FileFormat, fields: &[&str], asked: &str) -> String {
    String::from_utf8(file(format, fields, &agents(asked), false)).unwrap()
}

fn document(asked: &str, has_more: bool) -> Value {
    serde_json::from_slice(&file(FileFormat::Json, &[], &agents(asked), has_more)).unwrap()
}

#[test]
fn ndjson_holds_rows_and_nothing_else() {
    let lines = format!("{}\n{}\n", ROWS[0], ROWS[1]);
    assert_eq!(text(FileFormat::Ndjson, &[], ONE), lines);
    assert_eq!(text(FileFormat::Ndjson, &[], "all"), lines);
}

#[test]
fn a_document_has_the_members_of_the_envelope_and_the_bytes_of_the_rows() {
    let document_of_one = document(ONE, false);
    let rows: Vec<Value> = ROWS.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let expected = serde_json::json!({
        "agent_id": ONE, "as_of": "t", "page_number": 1, "page_size": 2, "total": 2, "has_more": false,
        "complete": true, "data": rows,
    });
    assert_eq!(document_of_one, expected);
    let text = text(FileFormat::Json, &[], ONE);
    assert!(ROWS.iter().all(|row| text.contains(row)));
    let cut = document(ONE, true);
    assert_eq!((&cut["has_more"], cut.get("total")), (&Value::Bool(true), None));
}

#[test]
fn a_document_has_a_section_for_each_of_several_agents() {
    let document = document(&format!("{ONE},{OTHER}"), false);
    let sections = document["agents"].as_array().unwrap();
    let ids: Vec<_> = sections.iter().map(|section| section["agent_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [ONE, OTHER]);
    let verdict = serde_json::json!({ "agent_id": ONE, "count": 1, "as_of": "s", "has_more": false });
    assert_eq!(document["verdicts"], serde_json::json!([verdict]));
    assert_eq!((&document["total"], &sections[1]["data"][0]["id"]), (&2.into(), &"a".into()));
}

#[test]
fn a_document_without_rows_or_agents_is_valid() {
    for (asked, member) in [(ONE, "data"), ("all", "agents")] {
        let asked = agents(asked);
        let mut encoder = FileRows::new(FileFormat::Json, &[], &asked).unwrap().encoder(&asked);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.end(&end(false), &mut out);
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document[member].as_array().map(Vec::len), Some(0), "{document}");
    }
}

#[test]
fn a_table_has_the_chosen_columns_and_unaltered_cells() {
    let table = text(FileFormat::Csv, &["id,to,cost,who"], ONE);
    assert_eq!(
        table,
        "\"id\",\"to\",\"cost\",\"who\"\r\nb,+919876543210,12.710,\"a, \"\"b\"\"\"\r\na,,-0.0,=1+1\r\n"
    );
    let table = text(FileFormat::Csv, &["id"], "all");
    assert_eq!(table, format!("\"@agent_id\",\"id\"\r\n{ONE},b\r\n{OTHER},a\r\n"));
}

#[test]
fn an_excel_table_is_utf_16_and_keeps_phone_numbers_as_text() {
    let bytes = file(FileFormat::Excel, &["id,to,who"], &agents(ONE), false);
    assert_eq!(bytes[..2], [0xff, 0xfe]);
    let units: Vec<u16> = bytes[2..].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    assert_eq!(
        String::from_utf16(&units).unwrap(),
        "\"id\"\t\"to\"\t\"who\"\r\nb\t\"=\"\"+919876543210\"\"\"\t\"a, \"\"b\"\"\"\r\na\t\t'=1+1\r\n"
    );
}

#[test]
fn a_table_requests_its_columns_and_the_creation_date() {
    let requested = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        FileRows::new(FileFormat::Csv, &fields, &agents("all")).unwrap().fields().join(";")
    };
    assert_eq!(requested(&["id", "a.\"b c\""]), "id,a.\"b c\",created_at");
    assert_eq!(requested(&["created_at,id"]), "created_at,id");
    assert_eq!(requested(&["created_at.x"]), "created_at.x");
    assert_eq!(requested(&["@agent_id"]), "created_at");
    assert!(requested(&[]).starts_with("id,status,created_at,"));
    let full: Vec<String> = (0..64).map(|n| format!("f{n}")).collect();
    assert_eq!(requested(&[&full.join(",")]), full.join(","));
}

#[test]
fn refuses_an_invalid_list_of_fields() {
    for fields in ["", "a,a", "a,a.b", "@day"] {
        for format in [FileFormat::Ndjson, FileFormat::Csv] {
            assert!(FileRows::new(format, &[fields.to_owned()], &agents(ONE)).is_err(), "{fields}");
        }
    }
}

#[test]
fn the_extension_of_a_name_selects_the_format() {
    for (name, format) in [
        ("a.ndjson", Some(FileFormat::Ndjson)),
        ("a.JSONL", Some(FileFormat::Ndjson)),
        ("a.b/c.csv", Some(FileFormat::Csv)),
        ("a.json", Some(FileFormat::Json)),
        ("a.txt", None),
        ("csv", None),
    ] {
        assert_eq!(FileFormat::of_name(name), format, "{name}");
    }
}
