//! `fields` and `omit`, compared with a naive reader of JSON.

mod lists;
pub(super) mod reference;
mod tables;

use proptest::prelude::*;

use super::*;
use crate::domain::AgentId;

pub(super) fn agent() -> AgentId {
    "6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap()
}

fn project(fields: &str, row: &str) -> String {
    let mut out = Vec::new();
    Fields::parse(&[fields]).unwrap().project(row.as_bytes(), agent(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn omit(list: &str, row: &str) -> String {
    let mut out = Vec::new();
    Omit::parse(&[list]).unwrap().apply(row.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// White space.
fn gap() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n", "\t \r"])
}

/// Keys, some of which are equal once decoded, and some odd ones.
fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        r#""a""#,
        r#""\u0061""#,
        r#""b""#,
        r#""c""#,
        r#""a.b""#,
        r#""""#,
        r#""\ud800""#,
        r#""\uD800""#,
        r#""é""#,
        r#""\u00e9""#,
        r#""\n""#,
        r#""\"\\\/""#,
        r#""\ud83d\ude42""#,
        r#""🙂""#,
        r#""@x""#,
    ])
}

fn value() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,9})?";
    let text = prop::collection::vec(
        prop::sample::select(vec![
            "x", ",", "}", "]", ":", "é", "\\\"", "\\\\", "\\u0031", "\\udc00", "\\n", "1", " ",
        ]),
        0..5,
    );
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        number.prop_map(|number| number),
        text.prop_map(|parts| format!("\"{}\"", parts.concat())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (gap(), prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(gap, values)| format!("[{gap}{}]", values.join(&format!("{gap},")))),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (gap(), key(), gap(), gap(), value, gap())
        .prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    (gap(), prop::collection::vec(member, 0..6))
        .prop_map(|(gap, members)| format!("{{{gap}{}}}", members.join(",")))
}

fn row() -> impl Strategy<Value = String> {
    (gap(), object(value()), gap()).prop_map(|(before, object, after)| format!("{before}{object}{after}"))
}

/// Paths, some of which lead into the values of others.
fn paths() -> impl Strategy<Value = Vec<String>> {
    let path = prop::collection::vec(key(), 1..4).prop_map(|keys| keys.join("."));
    prop::collection::vec(path, 1..6)
}

/// A list of those paths that one list can have.
fn list_of(paths: &[String]) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for path in paths {
        let longer = [&kept[..], &[path.as_str()]].concat().join(",");
        if Fields::parse(&[longer]).is_ok() {
            kept.push(path);
        }
    }
    kept.join(",")
}

fn keys_of(list: &str) -> Vec<Vec<Vec<u8>>> {
    let fields = Fields::parse(&[list]).unwrap();
    let paths = fields.columns().iter().filter_map(|column| column.path());
    paths.map(|path| path.keys().iter().map(|key| key.to_vec()).collect()).collect()
}

/// The expected projection: keys in the order of the list, each object where its first member is named.
fn projected(paths: &[Vec<Vec<u8>>], row: &str, above: &[&[u8]]) -> String {
    let mut members = Vec::new();
    let mut done: Vec<&[u8]> = Vec::new();
    for path in paths {
        let key = path[above.len()].as_slice();
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let here = [above, &[key]].concat();
        let below: Vec<_> = paths.iter().filter(|path| path[above.len()] == key).cloned().collect();
        let name = path::json_key(key);
        if below[0].len() == here.len() {
            members.extend(reference::at(row, &here).map(|value| format!("{name}:{value}")));
        } else {
            let inner = projected(&below, row, &here);
            members.extend((inner != "{}").then(|| format!("{name}:{inner}")));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// The members that `omit` must keep, as text without white space around it.
fn without(paths: &[Vec<Vec<u8>>], row: &str) -> Vec<(Vec<u8>, String)> {
    let members = reference::members(row).into_iter();
    let kept = members.filter_map(|member| {
        let below: Vec<_> =
            paths.iter().filter(|path| path[0] == member.key).map(|path| path[1..].to_vec()).collect();
        match below.first() {
            None => Some((member.key, member.value)),
            Some(rest) if rest.is_empty() => None,
            Some(_) if member.value.starts_with('{') => {
                let inner = without(&below, &member.value);
                Some((member.key, format!("{inner:?}")))
            }
            Some(_) => Some((member.key, member.value)),
        }
    });
    kept.collect()
}

/// Values by path, as deep as the paths go, without empty objects.
fn leaves(paths: &[Vec<Vec<u8>>], row: &str) -> Vec<(Vec<Vec<u8>>, String)> {
    let members = reference::members(row).into_iter();
    let mut found = Vec::new();
    for member in members {
        let below: Vec<_> =
            paths.iter().filter(|path| path[0] == member.key).map(|path| path[1..].to_vec()).collect();
        match below.first() {
            Some(rest) if !rest.is_empty() && member.value.starts_with('{') => {
                for (mut path, value) in leaves(&below, &member.value) {
                    path.insert(0, member.key.clone());
                    found.push((path, value));
                }
            }
            _ => found.push((vec![member.key], member.value)),
        }
    }
    found.sort();
    found
}

fn has_doubled_keys(value: &str) -> bool {
    if !value.starts_with('{') {
        return false;
    }
    let members = reference::members(value);
    members.iter().enumerate().any(|(at, member)| {
        members[..at].iter().any(|earlier| earlier.key == member.key) || has_doubled_keys(&member.value)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn projects_what_a_naive_reader_finds(row in row(), paths in paths()) {
        let list = list_of(&paths);
        prop_assert_eq!(project(&list, &row), projected(&keys_of(&list), &row, &[]));
    }

    #[test]
    fn extracts_slices_of_the_row(row in row(), paths in paths()) {
        let parse = |path| list::only_paths(list::parse(&[path], 1).unwrap()).unwrap();
        let paths: Vec<_> = paths.iter().flat_map(parse).collect();
        let extractor = extract::Extractor::new(&paths);
        let range = row.as_bytes().as_ptr_range();
        for path in &paths {
            let found = extractor.extract(row.as_bytes()).unwrap()[extractor.slot(path).unwrap()];
            let keys: Vec<_> = path.keys().iter().map(|key| &**key).collect();
            let expected = reference::at(row.trim_matches([' ', '\n', '\t', '\r']), &keys);
            prop_assert_eq!(found, expected.as_deref(), "an extractor allows paths inside others");
            prop_assert!(found.is_none_or(|found| range.contains(&found.as_ptr())));
        }
    }

    #[test]
    fn omit_removes_every_occurrence_and_keeps_the_rest(row in row(), paths in paths()) {
        let list = list_of(&paths);
        let paths = keys_of(&list);
        let cut = omit(&list, &row);
        prop_assert_eq!(without(&paths, &cut), without(&paths, &row));
        prop_assert!(leaves(&paths, &cut).iter().all(|(path, _)| !paths.contains(path)));
        serde_json::from_str::<serde::de::IgnoredAny>(&cut).unwrap();
    }

    #[test]
    fn fields_and_omit_partition_the_members(row in row(), paths in paths()) {
        prop_assume!(!has_doubled_keys(row.trim_matches([' ', '\n', '\t', '\r'])));
        let list = list_of(&paths);
        let paths = keys_of(&list);
        let mut both = leaves(&paths, &project(&list, &row));
        both.extend(leaves(&paths, &omit(&list, &row)));
        both.sort();
        prop_assert_eq!(both, leaves(&paths, &row));
    }

    #[test]
    fn omitting_absent_members_changes_no_byte(row in row()) {
        prop_assert_eq!(omit("nowhere,a.b.nowhere", &row), row);
    }

    #[test]
    fn a_canonical_list_is_its_own_canonical_form(paths in paths()) {
        let list = list_of(&paths);
        let canonical = Fields::parse(&[&list]).unwrap().canonical();
        let again = Fields::parse(&[&canonical]).unwrap();
        prop_assert_eq!(again.canonical(), canonical);
        let first = Fields::parse(&[list]).unwrap();
        prop_assert_eq!(again.columns(), first.columns());
    }
}

#[test]
fn keeps_the_nesting_and_the_order_of_the_list() {
    let row = r#"{"id":"1","telephony_data":{"hangup_reason":"x","to_number":"+91","n":12.710},"status":null,"big":9007199254740993}"#;
    for (fields, expected) in [
        ("status,id", r#"{"status":null,"id":"1"}"#),
        (
            "telephony_data.to_number,big,telephony_data.n",
            r#"{"telephony_data":{"to_number":"+91","n":12.710},"big":9007199254740993}"#,
        ),
        ("nowhere", "{}"),
        ("status.x,id.y,telephony_data.x.y", "{}"),
        (
            "id,@agent_id,status",
            r#"{"id":"1","@agent_id":"6f9619ff-8b86-d011-b42d-00cf4fc964ff","status":null}"#,
        ),
        (r#""i\u0064""#, r#"{"id":"1"}"#),
    ] {
        assert_eq!(project(fields, row), expected, "{fields}");
    }
}

#[test]
fn the_last_value_of_a_duplicate_key_counts_at_every_level() {
    let row = r#"{"a":{"b":1,"b":2},"a":{"c":3},"x":{"y":1},"x":null}"#;
    assert_eq!(project("a.b,a.c,x.y", row), r#"{"a":{"c":3}}"#);
    assert_eq!(omit("a.b,x.y", row), r#"{"a":{},"a":{"c":3},"x":{},"x":null}"#);
    assert_eq!(omit("a", row), r#"{"x":{"y":1},"x":null}"#);
    assert_eq!(omit("a,x", row), "{}");
}

#[test]
fn omit_removes_one_comma_with_each_member() {
    let row = "{ \"a\" : 1 , \"b\" : 2 , \"c\" : 3 }";
    for (list, expected) in [
        ("a", "{  \"b\" : 2 , \"c\" : 3 }"),
        ("b", "{ \"a\" : 1  , \"c\" : 3 }"),
        ("c", "{ \"a\" : 1 , \"b\" : 2  }"),
        ("a,b", "{   \"c\" : 3 }"),
        ("a,c", "{  \"b\" : 2  }"),
        ("a,b,c", "{    }"),
    ] {
        assert_eq!(omit(list, row), expected, "{list}");
    }
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let deep = format!("{}1{}", "[{\"a\":".repeat(200_000), "}]".repeat(200_000));
    let row = format!("{{\"a\":{deep},\"id\":\"x\",\"b\":{{\"c\":{deep}}}}}");
    assert_eq!(project("id,a", &row), format!("{{\"id\":\"x\",\"a\":{deep}}}"));
    assert_eq!(project("b.c.a", &row), "{}");
    assert_eq!(omit("a,b.c", &row), "{\"id\":\"x\",\"b\":{}}");
}

#[test]
fn an_invalid_row_is_an_error_and_writes_nothing() {
    let fields = Fields::parse(&["a"]).unwrap();
    for bytes in [
        &b"[]"[..],
        b"{\"x\ny\":1,\"a\":2}",
        b"",
        b"{",
        b"{\"a\":}",
        b"{\"a\":1}x",
        b"null",
        b"\xff",
        b"{\"a\":\"\xff\"}",
    ] {
        let mut out = Vec::new();
        assert_eq!(fields.project(bytes, agent(), &mut out), Err(NotARow), "{bytes:?}");
        assert_eq!(Omit::parse(&["a"]).unwrap().apply(bytes, &mut out), Err(NotARow), "{bytes:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn keeps_numbers_of_any_size_and_lone_surrogates() {
    let row = r#"{"a":1e999999999,"b":{"c":"\ud83d"},"\ud800":5,"d":1}"#;
    assert_eq!(project(r#"a,b.c,"\ud800",d"#, row), row);
}
