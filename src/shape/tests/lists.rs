//! Lists of paths: what they accept, and the messages for what they refuse.

use super::*;

fn error(list: &str) -> ListError {
    Fields::parse(&[list]).unwrap_err()
}

#[test]
fn keys_in_quotes_may_contain_any_character() {
    let fields = Fields::parse(&[r#"extracted_data."Is it 5, or 6?",a b,"a.b","@x","""#]).unwrap();
    let given: Vec<_> = fields.columns().iter().map(|column| column.given()).collect();
    assert_eq!(given, [r#"extracted_data."Is it 5, or 6?""#, "a b", r#""a.b""#, r#""@x""#, r#""""#]);
    assert_eq!(fields.canonical(), given.join(","));
}

#[test]
fn two_spellings_of_a_list_are_equal() {
    let form = |values: &[&str]| Fields::parse(values).unwrap().form();
    assert_eq!(form(&[r#""id","\u0073tatus""#]), form(&["id", "status"]));
    assert_ne!(form(&["id,status"]), form(&["status,id"]));
    // The first 8 digits that `printf id,status | sha256sum` gives.
    assert_eq!(form(&["id,status"]), SHA_OF_ID_STATUS);
    let omitted = |list| Omit::parse(&[list]).unwrap().form();
    assert_eq!(omitted("b,a"), omitted("a,b"));
    assert_ne!(omitted("id,status"), form(&["id,status"]));
}

const SHA_OF_ID_STATUS: &str = "85d58361";

#[test]
fn errors_name_the_problem_and_the_place() {
    for (list, words) in [
        ("", "is empty"),
        ("id,,x", "an empty key"),
        (",id", "an empty key"),
        ("id,", "an empty key"),
        ("telephony_data..x", "`telephony_data..x` has an empty key"),
        ("a.", "`a.` has an empty key"),
        ("to:telephony_data.to_number", "`to:telephony_data.to_number` has a `:`"),
        ("a\"b\"", "has a `\"`"),
        ("\"a\"b", "has a `b`"),
        ("\"a", "not a JSON string"),
        ("\"\\x\"", "not a JSON string"),
        ("\"a\nb\"", "not a JSON string"),
        ("id,id", "`id` is given twice"),
        ("id,\"id\"", "`id` is given twice"),
        ("@agent_id,@agent_id", "`@agent_id` is given twice"),
        ("a.b,a", "`a.b` is inside `a`"),
        ("a,a.b.c", "`a.b.c` is inside `a`"),
        ("@day", "`@day` is not known here"),
        ("a.@agent_id", "`a.@agent_id` is not known here"),
        ("@agent_id.x", "`@agent_id.x` is not known here"),
        ("1.2.3.4.5.6.7.8.9", "more than 8 keys"),
    ] {
        let error = error(list);
        assert!(error.to_string().contains(words), "{list}: {error}");
        assert!(!error.reason().contains("telephony"), "the log must not quote the list");
    }
    assert_eq!(Omit::parse(&["@agent_id"]).unwrap_err(), ListError::Reserved("@agent_id".to_owned()));
}

#[test]
fn limits_are_inclusive() {
    let paths = |count: usize| (0..count).map(|at| format!("k{at}")).collect::<Vec<_>>().join(",");
    assert_eq!(Fields::parse(&[paths(64)]).unwrap().columns().len(), 64);
    assert_eq!(error(&paths(65)), ListError::TooMany(64));
    Fields::parse(&["1.2.3.4.5.6.7.8"]).unwrap();
    Fields::parse(&["x".repeat(4096)]).unwrap();
    assert_eq!(error(&"x".repeat(4097)), ListError::TooLong);
    let halves = ["x".repeat(2048), "y".repeat(2048)];
    assert_eq!(
        Fields::parse(&halves).unwrap_err(),
        ListError::TooLong,
        "the comma between two values counts"
    );
    assert_eq!(Fields::parse::<&str>(&[]).unwrap_err(), ListError::Empty);
    assert!(error(&format!("{}..", "x".repeat(4000))).to_string().len() < 200);
}

#[test]
fn detects_lists_whose_rows_could_be_control_lines() {
    let may = |list| Fields::parse(&[list]).unwrap().may_look_like_a_control_line();
    assert!(may("@agent_id") && may("@agent_id,status") && may(r#""@end""#) && may(r#""@end".complete,a"#));
    assert!(!may("@agent_id,id") && !may("status") && !may(r#"a."@end""#) && !may(r#"id,"@end""#));
    assert!(Omit::parse(&["status,id"]).unwrap().takes_id() && !Omit::parse(&["id.x"]).unwrap().takes_id());
}
