//! A naive reader of JSON: recursive, and slow.

/// A member of an object: its decoded key, and the bytes of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shape) struct JsonMember {
    pub(in crate::shape) key: Vec<u8>,
    pub(in crate::shape) value: String,
}

/// The members of an object, including repeated ones.
pub(in crate::shape) fn members(object: &str) -> Vec<JsonMember> {
    let bytes = object.as_bytes();
    let mut at = blanks(bytes, 0);
    assert_eq!(bytes[at], b'{');
    at = blanks(bytes, at + 1);
    let mut members = Vec::new();
    while bytes[at] != b'}' {
        let key = at..value(bytes, at);
        at = blanks(bytes, key.end);
        assert_eq!(bytes[at], b':');
        let start = blanks(bytes, at + 1);
        let end = value(bytes, start);
        members.push(JsonMember { key: decode(&object[key]), value: object[start..end].to_owned() });
        at = blanks(bytes, end);
        if bytes[at] == b',' {
            at = blanks(bytes, at + 1);
            assert_eq!(bytes[at], b'"');
        }
    }
    assert_eq!(blanks(bytes, at + 1), bytes.len(), "nothing follows");
    members
}

/// The value at a path; of repeated members the last.
pub(in crate::shape) fn at(object: &str, path: &[&[u8]]) -> Option<String> {
    let value = members(object).into_iter().rfind(|member| member.key == path[0])?.value;
    match &path[1..] {
        [] => Some(value),
        rest if value.starts_with('{') => at(&value, rest),
        _ => None,
    }
}

fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && b" \t\r\n".contains(&bytes[at]) {
        at += 1;
    }
    at
}

/// The end of the value at this offset.
fn value(bytes: &[u8], mut at: usize) -> usize {
    match bytes[at] {
        b'"' => {
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at + 1
        }
        b'{' | b'[' => {
            at = blanks(bytes, at + 1);
            while !b"}]".contains(&bytes[at]) {
                at = blanks(bytes, value(bytes, at));
                if b",:".contains(&bytes[at]) {
                    at = blanks(bytes, at + 1);
                }
            }
            at + 1
        }
        _ => {
            while at < bytes.len() && !b",:}] \t\r\n".contains(&bytes[at]) {
                at += 1;
            }
            at
        }
    }
}

/// Decodes a string into bytes; half a surrogate pair becomes three bytes.
pub(in crate::shape) fn decode(string: &str) -> Vec<u8> {
    let mut units = Vec::new();
    let mut rest = string[1..string.len() - 1].chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            units.extend(char.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        units.push(match rest.next().unwrap() {
            'n' => 10,
            't' => 9,
            'r' => 13,
            'b' => 8,
            'f' => 12,
            'u' => u16::from_str_radix(&rest.by_ref().take(4).collect::<String>(), 16).unwrap(),
            other => other as u16,
        });
    }
    let mut out = Vec::new();
    for decoded in char::decode_utf16(units) {
        match decoded {
            Ok(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) => {
                let unit = half.unpaired_surrogate();
                out.extend([0xed, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8]);
            }
        }
    }
    out
}
