use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn page(text: &str) -> Result<Page, PageFault> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), Some(1))
}

fn rows(count: usize) -> String {
    let rows: Vec<_> = (0..count).map(|i| format!("{{\"id\":\"{i}\"}}")).collect();
    format!("[{}]", rows.join(","))
}

#[test]
fn rows_are_upstreams_bytes() {
    let odd = [
        r#"{"id":"a","cost":12.71,"n":68.399940,"big":9007199254740993,"e":1E+2}"#,
        r#"{"z":1, "id" : "b" ,"a":"\u00e9\ud83d\ude00\/","z":2,"ü":"ü"}"#,
        "{\"id\":\"c\",\n\t\"nested\":{\"id\":\"no\",\"data\":[{\"id\":\"no\"}]}}",
    ];
    let body = Bytes::from(format!(
        "{{\"page_number\":1, \"data\" : [ {} ],\"has_more\":false}}\n",
        odd.join(" ,\n")
    ));
    let page = parse(&body, Some(1)).unwrap();
    for (row, odd) in page.rows.iter().zip(odd) {
        assert_eq!(row.bytes, odd.as_bytes());
        assert!(body.as_ptr_range().contains(&row.bytes.as_ptr()), "a slice, not a copy");
    }
    let ids: Vec<_> = page.rows.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[test]
fn reads_the_values_of_a_row() {
    let page = page(
        r#"{"data":[{"id":"x","created_at":"2026-01-28T13:17:50.116924","updated_at":"2026-01-28T13:18:00+00:00",
            "status":"call-disconnected"}],"total":1,"has_more":false}"#,
    )
    .unwrap();
    let row = &page.rows[0];
    assert_eq!(row.created_at.unwrap().to_string(), "2026-01-28T13:17:50.116924Z");
    assert_eq!(row.updated_at.unwrap().to_string(), "2026-01-28T13:18:00.000000Z");
    assert_eq!(row.status.as_ref().unwrap().as_str(), "call-disconnected");
    assert_eq!(page.total, Some(1));
}

#[test]
fn the_last_value_of_a_duplicate_key_counts() {
    let page = page(
        r#"{"data":null,"data":[{"id":"old","status":"queued","id":"n\u0065w","st\u0061tus":"busy"}],
            "has_more":true,"has_more":false}"#,
    )
    .unwrap();
    assert_eq!(page.rows[0].id, "new");
    assert_eq!(page.rows[0].status.as_ref().unwrap().as_str(), "busy");
    assert!(!page.has_more);
}

#[test]
fn optional_values_of_wrong_types_are_absent() {
    for value in ["1", "null", "{}", "[]", "true", "\"\"", "\"x\""] {
        let page = page(&format!(
            r#"{{"data":[{{"id":"x","created_at":{value},"updated_at":{value},"status":{value}}}],"has_more":false,"total":{value}}}"#
        ))
        .unwrap();
        let row = &page.rows[0];
        assert_eq!((row.created_at, row.updated_at), (None, None), "{value}");
        assert_eq!(row.status.is_some(), value == "\"x\"", "{value}");
        assert_eq!(page.total.is_some(), value == "1", "{value}");
    }
}

#[test]
fn a_row_without_a_usable_id_is_malformed() {
    let long = format!("\"{}\"", "x".repeat(LONGEST_ID + 1));
    for id in ["1", "null", "\"\"", "[\"x\"]", &long] {
        assert!(
            page(&format!(r#"{{"data":[{{"id":"ok"}},{{"id":{id}}}],"has_more":false}}"#)).is_err(),
            "{id}"
        );
    }
    for row in ["{}", "null", "1", "[]", "\"x\""] {
        assert!(page(&format!(r#"{{"data":[{row}],"has_more":false}}"#)).is_err(), "{row}");
    }
}

#[test]
fn a_page_without_has_more_is_judged_by_its_rows() {
    let more = |count, rest: &str, number| {
        let body = Bytes::from(format!("{{\"data\":{}{rest}}}", rows(count)));
        parse(&body, number).unwrap().has_more
    };
    assert!(more(50, "", Some(1)));
    assert!(more(50, ",\"has_more\":null", None));
    assert!(!more(49, "", Some(1)));
    assert!(more(49, ",\"total\":50", Some(1)));
    assert!(!more(49, ",\"total\":99", Some(2)));
    assert!(more(49, ",\"total\":100", Some(2)));
    assert!(!more(0, ",\"total\":100", Some(1)));
    assert!(!more(20, ",\"total\":100", None));
    assert!(more(0, ",\"has_more\":true", Some(1)));
    assert!(!more(50, ",\"has_more\":false,\"total\":100", Some(1)));
}

#[test]
fn a_bare_array_is_one_page() {
    let short = page(&rows(3)).unwrap();
    assert_eq!((short.rows.len(), short.has_more, short.total), (3, false, None));
    assert!(page(&rows(50)).unwrap().has_more);
    assert!(page("[]").unwrap().rows.is_empty());
}

#[test]
fn a_page_of_more_than_ten_thousand_rows_is_malformed() {
    assert_eq!(page(&rows(MAX_ROWS)).unwrap().rows.len(), 10_000);
    for count in [MAX_ROWS + 1, 200_000] {
        assert_eq!(page(&rows(count)).unwrap_err(), "more than 10000 rows");
        assert!(page(&format!("{{\"data\":{},\"has_more\":false}}", rows(count))).is_err());
    }
}

#[test]
fn null_data_is_a_page_without_rows() {
    for rest in ["", ",\"total\":0", ",\"has_more\":false", ",\"total\":null,\"has_more\":null"] {
        let page = page(&format!("{{\"data\":null{rest}}}")).unwrap();
        assert!(page.rows.is_empty() && !page.has_more, "{rest}");
    }
    let beyond =
        parse(&Bytes::from_static(br#"{"data":null,"total":50,"has_more":false}"#), Some(2)).unwrap();
    assert!(beyond.rows.is_empty());
}

#[test]
fn null_data_with_a_total_is_malformed() {
    for rest in ["\"total\":5,\"has_more\":false", "\"has_more\":true", "\"total\":1"] {
        assert!(page(&format!("{{\"data\":null,{rest}}}")).is_err(), "{rest}");
    }
}

#[test]
fn a_relayed_body_is_valid_json_to_its_end() {
    let relay =
        |text: &'static [u8]| relay(Bytes::from_static(text), &Expectation::default()).map(|it| it.response);
    for odd in ["{\"odd\": 12.710 }\n", "[1,2]", "{\"data\":[{\"no\":\"id\"}]}"] {
        let relayed = relay(odd.as_bytes()).unwrap();
        assert!(relayed.page.is_none() && relayed.body == odd);
    }
    for broken in ["", "<html>", "{\"data\":[{\"id\":\"a\"}", "{}x", "\"text\"", "[[1]"] {
        assert!(relay(broken.as_bytes()).is_err(), "{broken}");
    }
    assert!(relay(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn other_bodies_are_not_taken_for_empty_pages() {
    for text in [
        "",
        "  \n",
        "null",
        "\"data\"",
        "<!doctype html><html></html>",
        "{}",
        r#"{"message":"Internal error"}"#,
        r#"{"detail":["x"]}"#,
        r#"{"error":500,"data":null}"#,
        r#"{"message":"boom","data":null,"has_more":false}"#,
        r#"{"message":"boom","data":[]}"#,
        r#"{"detail":"boom","data":[],"total":null}"#,
        r#"{"error":"boom","data":[],"total":0,"has_more":false}"#,
        r#"{"data":[],"total":0,"has_more":false,"error":500}"#,
        r#"{"error":{"code":1},"data":[{"id":"x"}],"has_more":false}"#,
        r#"{"data":{},"has_more":false}"#,
        r#"{"data":"","has_more":false}"#,
        r#"{"data":0,"has_more":false}"#,
        r#"{"data":1.5,"has_more":false}"#,
        r#"{"data":false,"has_more":false}"#,
        "{\"da\u{0}ta\":1,\"data\":[],\"has_more\":false}",
        "{\"a\\u0041\nb\":1,\"data\":[],\"has_more\":false}",
        r#"{"data":[],"has_more":"false"}"#,
        r#"{"data":[],"has_more":0}"#,
        r#"{"data":[],"has_more":false}{"#,
        r#"{"data":[],"has_more":false"#,
        r#"{"data":[{"id":"x"}"#,
        r#"{"data":[{"id":"x","a":"\u12G4"}],"has_more":false}"#,
        r#"{"data":[{"id":"x","n":01}],"has_more":false}"#,
        r#"{"data":[{"id":"x",}],"has_more":false}"#,
        "{\"data\":[{\"id\":\"x\",\"a\":\"\n\"}],\"has_more\":false}",
    ] {
        assert!(page(text).is_err(), "{text}");
    }
    assert!(parse(&Bytes::from_static(b"{\"data\":[{\"id\":\"\xff\"}]}"), None).is_err());
    for rest in [
        r#""message":"no executions","has_more":false"#,
        r#""detail":"none","total":0"#,
        r#""error":null"#,
        r#""error":"","total":0,"has_more":false"#,
        r#""error":false,"total":0,"has_more":false"#,
    ] {
        assert!(page(&format!("{{\"data\":[],{rest}}}")).is_ok(), "{rest}");
    }
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(page(&format!(r#"{{"data":[{{"id":"x","a":{}}}],"has_more":false}}"#, deep(100))).is_ok());
    assert!(page(&format!(r#"{{"data":[{{"id":"x","a":{}}}],"has_more":false}}"#, deep(1_000_000))).is_err());
    assert!(page(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn accepts_a_row_of_five_megabytes() {
    let row = format!(r#"{{"id":"x","transcript":"{}"}}"#, "a\\n".repeat(1_700_000));
    let page = page(&format!(r#"{{"data":[{row}],"has_more":false}}"#)).unwrap();
    assert_eq!(page.rows[0].bytes, row.as_bytes());
}

#[test]
fn a_fault_reveals_nothing_of_the_content() {
    let fault = page(r#"{"data":[{"id":"secret", "secret" "secret"}]}"#).unwrap_err();
    assert!(!fault.contains("secret"), "{fault}");
}

#[test]
fn reads_only_the_date_of_an_agent() {
    let read = |text: &'static str| {
        parse_agent(&Bytes::from_static(text.as_bytes()), &Expectation::default())
            .map(|compared| compared.response)
    };
    let dated = read(r#"{"id":1,"created_at":"2025-01-01T00:00:00","data":{"x":[]},"has_more":3}"#).unwrap();
    assert_eq!(dated.created_at.unwrap().to_string(), "2025-01-01T00:00:00.000000Z");
    assert_eq!(read(r#"{"created_at":17}"#).unwrap().created_at, None);
    for text in ["", "[]", "<html>", "{", "null", "{\"created_at\":}"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn no_truncated_page_is_a_page() {
    let whole = format!("{{\"data\":{},\"total\":3,\"has_more\":false}}", rows(3));
    for end in 0..whole.len() {
        assert!(page(&whole[..end]).is_err(), "{end}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(|f| json!(f)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn returns_every_row_byte_for_byte(values in prop::collection::vec((any::<String>(), value(), any::<bool>()), 0..8)) {
        let texts: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(i, (key, value, is_pretty))| {
                let row = json!({ "id": format!("id-{i}"), format!("k{key}"): value });
                if *is_pretty { serde_json::to_string_pretty(&row) } else { serde_json::to_string(&row) }.unwrap()
            })
            .collect();
        let page = page(&format!("{{\"data\":[{}],\"has_more\":false}}", texts.join(","))).unwrap();
        let back: Vec<_> = page.rows.iter().map(|r| r.bytes.clone()).collect();
        prop_assert_eq!(back, texts);
    }

    #[test]
    fn arbitrary_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-d0-9\\\\ ]{0,60}") {
        let _ = parse(&Bytes::from(bytes), None);
        let _ = parse(&Bytes::from(text), Some(1));
    }
}

#[test]
fn skips_a_byte_order_mark() {
    let text = "\u{feff}{\"data\":[{\"id\":\"a\", \"n\":1}],\"has_more\":false}";
    let page = page(text).unwrap();
    assert_eq!(&page.rows[0].bytes[..], b"{\"id\":\"a\", \"n\":1}");
    let relayed = relay(Bytes::from_static(text.as_bytes()), &Expectation::default()).unwrap().response;
    assert!(relayed.page.is_some() && relayed.body == text.as_bytes());
    let agent =
        parse_agent(&Bytes::from_static("\u{feff}{\"id\":\"x\"}".as_bytes()), &Expectation::default());
    assert!(agent.is_ok());
    assert!(relay(Bytes::from_static("\u{feff}".as_bytes()), &Expectation::default()).is_err());
}

#[test]
fn keeps_half_of_a_surrogate_pair_wherever_it_is() {
    let rows = [
        r#"{"id":"a","\ud800":1,"status":"completed"}"#,
        r#"{"id":"b","extracted_data":{"\udc00\ud83d":"\ud83d"}}"#,
        r#"{"id":"c\ud83d"}"#,
        r#"{"id":"c\udc00","status":"\ud83d","created_at":"\ud83d","agent_id":null}"#,
    ];
    let text = format!(r#"{{"\ud83d":"\ud83d","data":[{}],"total":4,"has_more":false}}"#, rows.join(","));
    let page = page(&text).unwrap();
    let bytes: Vec<_> = page.rows.iter().map(|row| row.bytes.clone()).collect();
    assert_eq!(bytes, rows);
    let ids: Vec<_> = page.rows.iter().map(|row| row.id.to_string()).collect();
    assert_eq!(ids, ["a", "b", r#""c\ud83d""#, r#""c\udc00""#]);
    let odd = r#"{"data":"\ud83d","x":{"\ud83d":["\ud83d"]}}"#;
    let relayed = relay(Bytes::from_static(odd.as_bytes()), &Expectation::default()).unwrap().response;
    assert!(relayed.page.is_none() && relayed.body == odd);
}

#[test]
fn finds_another_agent_wherever_a_response_names_one() {
    const ASKED: &str = "00000000-0000-0000-0000-000000000005";
    const OTHER: &str = "00000000-0000-0000-0000-000000000006";
    let asked = Expectation { agent: ASKED.parse().ok(), ..Expectation::default() };
    for form in [
        r#"{"data":[{"id":"a"},{"id":"b","agent_id":"@"}],"has_more":false}"#,
        r#"{"agent_id":"@","data":[],"has_more":false}"#,
        r#"[{"id":"a","agent_id":"@"}]"#,
        r#"{"data":[{"agent_id":"@"}]}"#,
        r#"{"executions":[{"id":"a","agent_id":"@"}]}"#,
        r#"{"data":{"executions":[{"id":"a","agent_id":"@"}]}}"#,
        r#"{"agent_id":"@"}"#,
        r#"{"data":{"agent_id":"@"},"message":"hello"}"#,
        r#"{"data":[{"id":"a","\u0061gent_id":"@"}],"has_more":false}"#,
    ] {
        let mismatches = |text: String| relay(Bytes::from(text), &asked).unwrap().mismatches;
        assert_eq!(mismatches(form.replace('@', OTHER)), [Mismatch::Agent], "{form}");
        assert_eq!(mismatches(form.replace('@', ASKED)), [], "{form}");
        assert_eq!(mismatches(form.replace("\"@\"", "null")), [], "{form}");
        assert_eq!(mismatches(form.replace("\"@\"", "6")), [Mismatch::Agent], "{form}");
    }
}

/// The values that are read from a row with these members.
fn facts_of(members: &str) -> FilterFacts {
    page(&format!(r#"{{"data":[{{"id":"a",{members}}}],"has_more":false}}"#)).unwrap().rows[0].facts.clone()
}

#[test]
fn the_facts_of_filters_are_read_from_where_upstream_writes_them() {
    let batch = "6f96c9b1000040008000012345678900";
    let facts = facts_of(&format!(
        r#""batch_id":"{batch}","answered_by_voice_mail":false,"telephony_data":{{"provider":"plivo","x":{{"provider":"y"}},"call_type":"inbound"}}"#
    ));
    let expected = FilterFacts {
        call_type: Some("inbound".into()),
        provider: Some("plivo".into()),
        batch_id: BatchFact::In(batch.into()),
        answered_by_voice_mail: Some(false),
    };
    assert_eq!(facts, expected);
    let doubled =
        r#""telephony_data":{"provider":"plivo","provider":"twilio"},"batch_id":"x","batch_id":null"#;
    let facts = facts_of(doubled);
    assert_eq!(
        (facts.provider.as_deref(), facts.batch_id),
        (Some("twilio"), BatchFact::None),
        "the last counts"
    );
}

#[test]
fn a_fact_in_another_form_is_unknown() {
    for members in [
        r#""x":1"#,
        r#""telephony_data":null,"answered_by_voice_mail":null"#,
        r#""telephony_data":"twilio","batch_id":7,"answered_by_voice_mail":"true""#,
        r#""telephony_data":["provider","twilio"],"batch_id":{},"answered_by_voice_mail":1"#,
        r#""telephony_data":{"provider":null,"call_type":["inbound"]}"#,
        r#""telephony_data":{"x":{"provider":"twilio","call_type":"inbound"}},"provider":"twilio","call_type":"inbound""#,
        r#""telephony_data":{"provider":"\ud83d","\ud83d":1}"#,
    ] {
        assert_eq!(facts_of(members), FilterFacts::default(), "{members}");
    }
    let long = format!(r#""batch_id":"{}""#, "b".repeat(65));
    assert_eq!(facts_of(&long).batch_id, BatchFact::Unknown);
}
